"""The parsers and, for what they let through, all that is done with it afterwards: nothing may raise what it does not
document."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tomli_w
import yaml
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from headrace_api import worker_config
from headrace_api.convert import ray_serve_llm as to_ray
from headrace_api.convert import registry as to_registry
from headrace_api.convert import worker_config as to_worker
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.prompts import AnyPromptFormat
from headrace_api.rules.document import check_model, read_model
from headrace_api.toml_file import ConfigError, parse
from headrace_api.two_file import read
from headrace_api.worker_config import WorkerConfig
from headrace_cli.forms import ray_configs, yaml_documents
from headrace_cli.interpret import Model, Refused, ray_model
from headrace_cli.sources import Source
from headrace_cli.yaml_text import Malformed, write
from tests.fuzz import seeds
from tests.fuzz.inputs import Tree, damaged_trees, documents, values

_QUEUE = "http://localhost:8080"


@dataclass(frozen=True)
class Target:
    """What is fed with what."""

    inputs: st.SearchStrategy[Any]
    feed: Callable[[Any], bool]
    """Whether the input was accepted."""


def _use(spec: InferenceModelSpec) -> None:
    """Write an accepted model in every form."""
    write(to_registry.from_spec(spec))
    write(to_ray.from_spec(spec))
    with contextlib.suppress(ValueError):  # a model without a name has no worker file
        tomli_w.dumps(worker_config.document(to_worker.from_spec(spec, _QUEUE)))


def _ray(text: str) -> bool:
    try:
        models = [ray_model(found) for one in yaml_documents(Source("f.yaml", text)) for found in ray_configs(one)]
    except (Malformed, Refused):
        return False
    for model in models:
        _imported(model)
    return True


def _imported(model: Model) -> None:
    manifest = model.manifest("m")
    write(manifest)
    check_model(manifest)
    _use(model.imported.spec)


def _edition_1(text: str) -> bool:
    try:
        config = parse(text, "worker_config.toml", WorkerConfig)
    except ConfigError as refused:
        return _refused(refused, "worker_config.toml")
    tomli_w.dumps(worker_config.document(config))
    worker_config.fingerprint(config.generator)
    _use(to_worker.to_spec(config).spec)
    return True


def _refused(refusal: ConfigError, *files: str) -> bool:
    """Every line of a refusal begins with the file that it is about."""
    lines = str(refusal).splitlines()
    assert lines
    assert all(line.startswith(files) for line in lines), lines
    return False


def _two_file(texts: tuple[str, str]) -> bool:
    env, cap = texts
    try:
        unified = read(env, "env.toml", cap, "cap.toml")
    except ConfigError as refused:
        return _refused(refused, "env.toml", "cap.toml")
    _use(to_worker.to_spec(unified.config).spec)
    return True


def _manifest(manifest: Tree) -> bool:
    json_like = json.loads(json.dumps(manifest, default=str))  # what an API server or a YAML file can send
    model = read_model(json_like)
    assert all(finding.code.startswith("HR") for finding in model.findings)
    if any(finding.severity == "error" for finding in model.findings):
        return False
    assert model.spec is not None
    _use(model.spec)
    return True


_FORMATS: TypeAdapter[Any] = TypeAdapter(AnyPromptFormat)


def _prompt(given: tuple[Any, Any]) -> bool:
    fields, messages = given
    try:
        prompt_format = _FORMATS.validate_python(fields)
    except ValidationError:
        return False
    try:
        prompt = prompt_format.render(messages)
    except ValueError as refused:
        if isinstance(refused, UnicodeError):
            raise
        return False
    assert isinstance(prompt, str)
    return True


def _yaml(seed_trees: list[Tree]) -> st.SearchStrategy[str]:
    return documents(seed_trees, lambda tree: yaml.safe_dump(tree, allow_unicode=True), null=True)


def _toml(seed_trees: list[Tree]) -> st.SearchStrategy[str]:
    return documents(seed_trees, tomli_w.dumps, null=False) | st.text(st.characters(), max_size=20)


_MESSAGES = st.one_of(
    st.just(seeds.MESSAGES),
    damaged_trees([{"messages": seeds.MESSAGES}]).map(lambda tree: tree.get("messages")),
    values(null=True),
)

TARGETS: Mapping[str, Target] = {
    "registry YAML": Target(_yaml(seeds.REGISTRY), _ray),
    "ray.serve.llm YAML": Target(_yaml(seeds.RAY_SERVE_LLM), _ray),
    "env.toml and cap.toml": Target(st.tuples(_toml(seeds.ENV), _toml(seeds.CAP)), _two_file),
    "worker_config.toml": Target(_toml(seeds.EDITION_1), _edition_1),
    "InferenceModel": Target(damaged_trees(seeds.MANIFESTS), _manifest),
    "prompt format": Target(
        st.tuples(st.one_of(*[damaged_trees(seeds.PROMPT_FORMATS)] * 3, values(null=True)), _MESSAGES), _prompt
    ),
}
