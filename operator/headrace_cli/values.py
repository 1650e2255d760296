"""The installation's values for a rendering without a cluster: the chart's own, a values file, options."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from headrace_cli.errors import Trouble
from headrace_cli.sources import read as read_source
from headrace_cli.yaml_text import Malformed, read
from headrace_operator.render.config import RenderConfig

ValuesFile = Annotated[
    Path | None, typer.Option("--values", help="A values file of the chart, as for helm install --values.")
]
QueueUrl = Annotated[str | None, typer.Option(help="The queue's URL as the workers see it.")]
Image = Annotated[str | None, typer.Option(help="The runtime image, for every engine.")]

CHART_NAMES = {
    "queue_url": "queue.service.port",
    "token_secret_name": "queue.workerToken.existingSecret",
    "token_secret_key": "queue.workerToken.key",
    "images": "runtime.images",
    "image_pull_policy": "image.pullPolicy",
    "image_pull_secrets": "imagePullSecrets",
    "grace_seconds": "runtime.graceSeconds",
    "node_lost_seconds": "runtime.nodeLostSeconds",
    "gpus_per_node": "runtime.gpusPerNode",
    "network_policies": "networkPolicies.enabled",
    "accelerators": "runtime.accelerators",
    "default_accelerator": "runtime.defaultAccelerator",
    "credentials_secret_name": "runtime.credentialsSecret",
    "model_cache": "runtime.modelCache",
}
"""The chart's value that each field of RenderConfig comes from."""

_RELEASE = "headrace"
_REPOSITORIES = {
    "LlamaCppEngine": "headrace/runtime-llamacpp",
    "VLLMEngine": "headrace/runtime-vllm",
    "EmbeddingEngine": "headrace/runtime-embeddings",
}
"""The chart's images; the test of this module compares them with the chart."""


def render_config(values_file: Path | None, queue_url: str | None, image: str | None) -> RenderConfig:
    """What the chart would tell the operator, in a release called headrace in the namespace headrace.

    Raises:
        Trouble: the values file cannot be read, or has a value that is not accepted.
    """
    values = {} if values_file is None else _values(values_file)
    given = {name: _at(values, path) for name, path in CHART_NAMES.items()}
    given = {name: value for name, value in given.items() if value not in (None, "", {}, [])}
    if isinstance(profiles := given.get("accelerators"), dict):
        given["accelerators"] = {name: one for name, one in profiles.items() if one is not None}  # as helm merges
    port = given.pop("queue_url", 8080)
    engines = given.pop("images", {})
    images = {"*": image} if image else _images(values, engines)
    defaults = {"token_secret_name": f"{_RELEASE}-worker-token", "image_pull_policy": "IfNotPresent"}
    url = queue_url or f"http://{_RELEASE}-queue.{_RELEASE}.svc:{port}"
    try:
        return RenderConfig.model_validate({**defaults, **given, "queue_url": url, "images": images})
    except ValidationError as error:
        lines = [_sentence(values_file, dict(one)) for one in error.errors()]
        raise Trouble("\n".join(lines)) from None


def given_names(values_file: Path | None, queue_url: str | None, image: str | None) -> frozenset[str]:
    """The names of `CHART_NAMES` that are not left to the chart's defaults."""
    values = {} if values_file is None else _values(values_file)
    given = {path for path in CHART_NAMES.values() if _at(values, path) is not None}
    options = {CHART_NAMES["queue_url"]: queue_url, CHART_NAMES["images"]: image}
    return frozenset(given | {path for path, value in options.items() if value is not None})


def _sentence(file: Path | None, error: dict[str, Any]) -> str:
    name = CHART_NAMES.get(str(error["loc"][0]), "")
    rest = "".join(f".{part}" for part in error["loc"][1:])
    return f"{file}: {name}{rest}: {error['msg']} (got {error['input']!r:.80})"


def _values(path: Path) -> dict[str, Any]:
    source = read_source(path)
    try:
        documents = read(source.text, source.file)
    except Malformed as error:
        raise Trouble(str(error)) from None
    values = documents[0].data if documents else {}
    if not isinstance(values, dict) or len(documents) > 1:
        raise Trouble(f"{source.file}: not one map; accepted: a values file of the chart")
    return values


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _images(values: dict[str, Any], given: Any) -> dict[str, str]:
    """The image of each engine, named as the chart names it."""
    from importlib.metadata import version  # noqa: PLC0415 - slow, and not needed with --image

    registry, tag = _at(values, "image.registry") or "docker.io", _at(values, "image.tag") or version("headrace")
    engines: dict[str, Any] = {engine: {} for engine in _REPOSITORIES} | (given if isinstance(given, dict) else {})
    usual = {"registry": registry, "tag": tag}
    named = {
        engine: usual | {"repository": _REPOSITORIES.get(engine, "")} | {key: one for key, one in image.items() if one}
        for engine, image in engines.items()
        if isinstance(image, dict)
    }
    return {engine: "{registry}/{repository}:{tag}".format(**image) for engine, image in named.items()}
