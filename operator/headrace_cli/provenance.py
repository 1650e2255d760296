"""Which layer set each rendered key: found by rendering again with one field changed, and comparing.

A table of keys and fields would have to be kept equal to the renderer by hand. Changing each field in turn and looking
at what changes in the result asks the renderer itself.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec, ModelCache
from headrace_cli.probes import probes
from headrace_cli.rendered_keys import Key, rendered_keys
from headrace_cli.rendering import NO_UID
from headrace_cli.values import CHART_NAMES
from headrace_operator.render.config import PullSecret, RenderConfig

Object = dict[str, Any]

SPEC, CHART_VALUE, CHART_DEFAULT, DEFAULT = "spec", "chart value", "chart default", "headrace default"
COMPUTED, CLUSTER = "computed", "cluster"
_HASHES = (names.ANNOTATION_HASH, names.ANNOTATION_REVISION, names.ANNOTATION_SPEC_HASH)
_REVISION_NAMES = (("ConfigMap", "metadata.name"), ("Deployment", "spec.template.spec.volumes[config].configMap.name"))
"""Where the name of a revision's ConfigMap is, which ends in a hash."""


@dataclass(frozen=True)
class Row:
    """One rendered key."""

    place: str
    """The file or the kind of object."""
    key: str
    value: Any
    layer: str
    sources: tuple[str, ...]
    """What decides the value: fields of the manifest, or names in the chart's values."""


_OTHERS: dict[str, Any] = {
    "image_pull_secrets": (PullSecret(name="probe"),),
    "accelerators": {},
    "model_cache": ModelCache(persistent_volume_claim="probe"),
}
"""Values that are told from every other where it matters."""

Sources = dict[Key, list[str]]


def explain(metadata: Object, spec: Object, config: RenderConfig, given: Collection[str] = ()) -> list[Row]:
    """A row for every rendered key, in the order of the rendering.

    Args:
        metadata: the manifest's.
        spec: the manifest's, as it was written; the rules find no error in it.
        config: the installation's values.
        given: names of chart values that somebody set.
    """
    base = _render(metadata, spec, config) or {}
    chart_value, chart_default, stated, default = Sources(), Sources(), Sources(), Sources()
    for field, other in _other_configs(config):
        source = CHART_NAMES[field]
        _note(chart_value if source in given else chart_default, base, _render(metadata, spec, other), source)
    for field in ("name", "namespace"):
        kind = stated if field in metadata else default
        _note(kind, base, _render({**metadata, field: "probe"}, spec, config), f"metadata.{field}")
    for probe in probes(spec):
        valid = (rendered for changed in probe.specs if (rendered := _render(metadata, changed, config)))
        for _, rendered in zip(range(3), valid, strict=False):
            _note(stated if probe.stated else default, base, rendered, probe.field)
    layers = ((CHART_VALUE, chart_value), (CHART_DEFAULT, chart_default), (SPEC, stated), (DEFAULT, default))
    return [_row(key, value, layers) for key, value in base.items()]


def _row(key: Key, value: Any, layers: Iterable[tuple[str, Sources]]) -> Row:
    if key[1].endswith(tuple(f'"{name}"' for name in _HASHES)) or key in _REVISION_NAMES:
        return Row(*key, value, COMPUTED, ("everything that is rendered",))
    if value == NO_UID:
        return Row(*key, value, CLUSTER, ("metadata.uid, which the API server gives",))
    for layer, sources in layers:
        if key in sources:
            return Row(*key, value, layer, tuple(sources[key]))
    return Row(*key, value, DEFAULT, ())


def _render(metadata: Object, spec: Object, config: RenderConfig) -> dict[Key, Any] | None:
    """The keys; None for a changed spec that is not accepted."""
    try:
        valid = InferenceModelSpec.model_validate(spec)
        return rendered_keys(metadata, valid, config)
    except (ValidationError, ValueError, KeyError, TypeError):
        return None


def _note(found: Sources, base: dict[Key, Any], other: dict[Key, Any] | None, source: str) -> None:
    """Remember which keys differ; an object that is not there at all (enabled: false) says nothing about its keys."""
    if other is None:
        return
    places = {place for place, _ in other}
    for key, value in base.items():
        differs = key not in other or other[key] != value or type(other[key]) is not type(value)
        if differs and key[0] in places and source not in found.get(key, []):
            found.setdefault(key, []).append(source)


def _other_configs(config: RenderConfig) -> Iterator[tuple[str, RenderConfig]]:
    """The installation's values with one of them changed."""
    for field in CHART_NAMES:
        value = getattr(config, field)
        other: Any = f"{value}-probe"
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int):
            other = value + 1
        elif field in _OTHERS:
            other = _OTHERS[field]
        elif isinstance(value, dict):
            other = {name: f"{image}-probe" for name, image in value.items()}
        yield field, config.model_copy(update={field: other})
