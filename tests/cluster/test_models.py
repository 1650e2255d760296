"""The table of models in models/: what the real API server, the CRD and the webhook make of each.

All models of a kind are given to one kubectl, a file for each, so that kubectl names the file in what it says.
"""

import json
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import revision as revisions
from headrace_operator.render.config import RenderConfig
from setup import install

pytestmark = pytest.mark.cluster

TABLE = Path(__file__).parent / "models"
UNWATCHED = "default"
"""A namespace that the webhook is not asked about: here the CRD is alone."""

Object = dict[str, Any]


def table(name: str) -> dict[str, Object]:
    found: dict[str, Object] = yaml.safe_load((TABLE / f"{name}.yaml").read_text())
    return found


VALID = table("valid")
INVALID = table("invalid")


def manifest(name: str, case: Object) -> Object:
    head = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": case.get("name", name)},
    }
    return {**head, "spec": case["spec"]} if "spec" in case else head


def kubectl_apply(
    folder: Path, cases: dict[str, Object], namespace: str, *options: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    for name, case in cases.items():
        (folder / f"{name}.json").write_text(json.dumps(manifest(name, case)))
    command = install.kubectl_command("apply", "-f", str(folder), *options, namespace=namespace)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refusals(folder: Path, namespace: str) -> dict[str, str]:
    """What kubectl says of each invalid model that is refused."""
    text = kubectl_apply(folder, INVALID, namespace, "--dry-run=server").stderr
    parts = re.split(r"^(?=Error from server|The request is invalid|Warning: )", text, flags=re.MULTILINE)
    refused = [part for part in parts if part and not part.startswith("Warning: ")]
    return {re.findall(rf"{re.escape(str(folder))}/([a-z0-9-]+)\.json", part)[0]: part for part in refused}


@pytest.fixture(scope="module")
def checked(installed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:  # noqa: ARG001
    return refusals(tmp_path_factory.mktemp("models") / "checked", install.NAMESPACE)


@pytest.fixture(scope="module")
def alone(installed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:  # noqa: ARG001
    return refusals(tmp_path_factory.mktemp("models") / "alone", UNWATCHED)


def test_the_table_is_long_enough():
    assert len(VALID) + len(INVALID) >= 60
    assert {case["spec"]["engine"]["type"] for case in VALID.values()} == {
        "VLLMEngine",
        "TRTLLMEngine",
        "EmbeddingEngine",
        "LlamaCppEngine",
        "luminous",
    }


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_model_is_refused_with_code_field_and_hint(name, checked):
    for words in INVALID[name]["refused"]:
        assert words in checked.get(name, "accepted")


@pytest.mark.parametrize("name", INVALID)
def test_without_the_webhook_the_crd_refuses_what_it_can(name, alone):
    wanted = INVALID[name].get("alone")
    assert (name in alone) == (wanted is not None)
    if wanted:
        assert wanted in alone[name]


@pytest.fixture(scope="module")
def applied(installed: None, tmp_path_factory: pytest.TempPathFactory):  # noqa: ARG001
    """Every valid model, applied for real but for its workers; what kubectl said, and the models as they are stored."""
    cases = {name: {"spec": {**case["spec"], "enabled": False}} for name, case in VALID.items()}
    result = kubectl_apply(tmp_path_factory.mktemp("models") / "applied", cases, install.NAMESPACE)
    command = install.kubectl_command("get", "inferencemodels.headrace.dev", "--output=json")
    stored = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["items"]
    yield result.stdout + result.stderr, {model["metadata"]["name"]: model for model in stored}
    subprocess.run(install.kubectl_command("delete", "inferencemodels.headrace.dev", *cases), check=True)


def missing(given: Any, stored: Any, path: str = "") -> list[str]:
    """Where `stored` lacks something of `given`, or has something else; a null is not stored."""
    if isinstance(given, dict) and isinstance(stored, dict):
        wanted = {key: value for key, value in given.items() if value is not None}
        return [place for key, value in wanted.items() for place in missing(value, stored.get(key), f"{path}.{key}")]
    if isinstance(given, list) and isinstance(stored, list) and len(given) == len(stored):
        pairs = enumerate(zip(given, stored, strict=True))
        return [place for at, (one, other) in pairs for place in missing(one, other, f"{path}[{at}]")]
    return [] if given == stored else [f"{path}: {given!r} became {stored!r}"]


def at(model: Object, path: str) -> Any:
    value: Any = model
    for part in path.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("name", VALID)
def test_a_valid_model_is_stored_as_applied_with_defaults(name, applied):
    shown, stored = applied
    assert name in stored, shown
    given = {**VALID[name]["spec"], "enabled": False}
    assert missing(given, stored[name]["spec"]) == []
    for path, value in VALID[name].get("stored", {}).items():
        assert at(stored[name], path) == value


@pytest.mark.parametrize("name", [name for name, case in VALID.items() if case.get("warns")])
def test_kubectl_shows_the_warnings(name, applied):
    shown, _ = applied
    for words in VALID[name]["warns"]:
        assert f"Warning: {words}" in shown


@pytest.fixture(scope="module")
def config_maps(applied):
    """The rendered files of every model with a runtime image, once they are all there."""
    _, stored = applied
    offered = [name for name, case in VALID.items() if case.get("offered", True)]
    names = install.kubectl_command("get", "configmaps", "-l", "headrace.dev/model", "--output=json")
    for _ in range(60):
        found = json.loads(subprocess.run(names, capture_output=True, text=True, check=True).stdout)["items"]
        rendered = {one["metadata"]["labels"]["headrace.dev/model"]: one["data"] for one in found}
        if set(offered) <= set(rendered):
            break
        time.sleep(0.5)
    return rendered, stored


def said(rendered: dict[str, str]) -> Object:
    return {
        "worker_config.toml": tomllib.loads(rendered["worker_config.toml"]),
        "model.yaml": yaml.safe_load(rendered["model.yaml"]),
    }


@pytest.mark.parametrize("name", VALID)
def test_the_files_of_a_valid_model_are_rendered_as_without_a_cluster(name, config_maps):
    """Neither the API server's defaults nor its order of keys change what they say."""
    rendered, _ = config_maps
    if not VALID[name].get("offered", True):
        assert name not in rendered
        return
    config = RenderConfig(
        queue_url="http://headrace-queue.headrace.svc:8080",
        token_secret_name="headrace-worker-token",
        images=dict.fromkeys(("EmbeddingEngine", "LlamaCppEngine", "VLLMEngine"), "image"),
    )
    given = {**VALID[name]["spec"], "enabled": False}
    spec = InferenceModelSpec.model_validate(given)
    metadata = {"name": name, "namespace": install.NAMESPACE, "uid": "u"}
    expected = revisions.config_map(metadata, spec, revisions.render(name, spec, config))
    assert said(rendered[name]) == said(expected["data"])
