"""A manifest's objects as the operator would create them, without a cluster."""

from typing import Any

from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.errors import FAILED, Trouble
from headrace_cli.manifests import Manifest, valid_spec
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig

NO_UID = "00000000-0000-0000-0000-000000000000"
"""The API server gives each object its own; a rendering without a cluster has to do without."""


def checked_spec(manifest: Manifest, config: RenderConfig) -> InferenceModelSpec:
    """The spec of a model that the operator would render.

    Raises:
        Trouble: the rules refuse it, or the installation has no image for its engine.
    """
    spec = valid_spec(manifest, config.facts)
    if config.image_of(spec) is None:
        line = manifest.document.line((*manifest.within, "spec", "engine", "type"))
        offered = ", ".join(sorted(config.images)) or "none"
        raise Trouble(
            f"{manifest.file}:{line}: spec.engine.type: the chart has no runtime image for {spec.engine.type}; "
            f"accepted: {offered} (or give one, with --image or with runtime.images in --values)",
            FAILED,
        )
    return spec


def objects(metadata: dict[str, Any], spec: InferenceModelSpec, config: RenderConfig) -> list[dict[str, Any]]:
    """Every object of one model; a namespace or uid that the manifest does not have is made up."""
    return children({"namespace": "default", "uid": NO_UID, **metadata}, spec, config)
