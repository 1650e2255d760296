"""The shape of `spec.template`: a patch of a pod template, whose maps and lists are where a pod has them.

The API server judges the pod that comes out. These rules are for what no pod could be made of.
"""

from collections.abc import Iterator
from typing import Any

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Path, Rule, at
from headrace_api.suggest import did_you_mean

_TOP = ("metadata", "spec")
_TEXTS = frozenset({"annotations", "labels", "nodeSelector"})
"""Maps of texts, whose keys are anybody's."""
_MAPS = frozenset(
    {"affinity", "securityContext", "resources", "configMap", "emptyDir", "hostPath", "persistentVolumeClaim"}
)
_LISTS = frozenset(
    {
        *("containers", "initContainers", "volumes", "tolerations", "topologySpreadConstraints", "resourceClaims"),
        *("imagePullSecrets", "schedulingGates", "hostAliases", "env", "envFrom", "ports", "volumeMounts"),
    }
)
"""Lists of maps."""
_DEEPEST = 12
"""Further down a pod has nothing that is merged."""


def _is_a_patch(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for name, value in spec.template.items():
        path = at("template", name)
        if name not in _TOP:
            message = f"a pod template has no {name!r:.80}{did_you_mean(name, _TOP)}"
            yield Finding("HR009", "error", path, message, "write fields of the pod below spec, labels below metadata")
        elif not isinstance(value, dict):
            yield _wrong(path, value, "a map")
        else:
            yield from _within(value, path)


def _within(value: dict[str, Any], path: Path) -> Iterator[Finding]:
    for name, item in value.items():
        where = (*path, name)
        if item is None or len(path) > _DEEPEST:
            continue
        if name in _TEXTS:
            if not isinstance(item, dict) or not all(isinstance(one, str | None) for one in item.values()):
                yield _wrong(where, item, "a map of texts")
        elif name in _LISTS and not (isinstance(item, list) and all(isinstance(one, dict) for one in item)):
            yield _wrong(where, item, "a list of maps")
        elif name in _MAPS and not isinstance(item, dict):
            yield _wrong(where, item, "a map")
        elif isinstance(item, dict):
            yield from _within(item, where)
        elif isinstance(item, list):
            for place, one in enumerate(item):
                yield from _within(one, (*where, place)) if isinstance(one, dict) else ()


def _wrong(path: Path, value: Any, accepted: str) -> Finding:
    return Finding("HR009", "error", path, f"{value!r:.80} is not accepted", f"write {accepted}, as in a pod")


RULES = (Rule("HR009", "error", "spec.template is a patch of a pod template: metadata and spec", _is_a_patch),)
