"""Defaults that depend on other fields, so that the CRD cannot say them; the admission webhook writes them.

There is one. A default that is written down stays when what it was derived from changes, and what the API server holds
is rendered into the worker's files: so only a value that is a beginning, and is rendered nowhere, is filled in. What is
derived for good (`numGpusPerWorker` from the engine, `hfModelId` from `modelId`) is derived where it is used.
"""

import json
from collections.abc import Mapping
from typing import Any

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_REPLICAS = ("spec", "replicas")


def defaults(model: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """The values to fill into a new model, by their path.

    `spec.replicas` becomes `deployment.autoscaling.initialReplicas` (else `minReplicas`) where that is more than the
    one that the CRD fills in, and the author did not write `replicas`.
    """
    spec = model.get("spec") or {}
    wanted = _initial_replicas(spec)
    if wanted is None or spec.get("replicas", 1) != 1 or _written(model):
        return {}
    return {_REPLICAS: wanted}


def _initial_replicas(spec: Mapping[str, Any]) -> int | None:
    """With how many workers autoscaling begins, where that is more than one."""
    autoscaling = (spec.get("deployment") or {}).get("autoscaling") or {}
    wanted = autoscaling.get("initialReplicas")
    if wanted is None:
        wanted = autoscaling.get("minReplicas")
    return wanted if isinstance(wanted, int) and wanted > 1 else None


def _written(model: Mapping[str, Any]) -> bool:
    """Whether the author is known to have written `replicas`: the CRD's default has the same value.

    Server-side apply says it in the managed fields, `kubectl apply` in its annotation; a plain create does not say.
    """
    metadata = model.get("metadata") or {}
    applied = [one for one in metadata.get("managedFields") or [] if one.get("operation") == "Apply"]
    if any("f:replicas" in ((one.get("fieldsV1") or {}).get("f:spec") or {}) for one in applied):
        return True
    try:
        last = json.loads((metadata.get("annotations") or {}).get(_LAST_APPLIED) or "{}")
        return "replicas" in last["spec"]
    except (ValueError, KeyError, TypeError):
        return False
