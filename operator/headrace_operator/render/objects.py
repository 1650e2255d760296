"""What all rendered objects share: labels, owner, content hash."""

import hashlib
import json
from typing import Any

from headrace_api import inference_model as api
from headrace_api import names

Object = dict[str, Any]


def content_hash(content: Any) -> str:
    """16 hex digits of the canonical JSON of `content`."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def canonical(content: Any) -> str:
    """The JSON text that equal contents share."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def selector(name: str) -> dict[str, str]:
    """The labels by which the workers of the model called `name` are found."""
    return {names.LABEL_NAME: "headrace-worker", names.LABEL_MODEL: name}


def labels(name: str) -> dict[str, str]:
    """The labels of every object of the model called `name`."""
    return {**selector(name), names.LABEL_MANAGED_BY: names.MANAGED_BY}


def metadata(model: Object, name: str | None = None) -> Object:
    """The metadata of an object that belongs to a model.

    Args:
        model: the model's own metadata, of which name, namespace and uid are used.
        name: the object's name; the model's when None.
    """
    return {
        "name": name or model["name"],
        "namespace": model["namespace"],
        "labels": labels(model["name"]),
        "ownerReferences": [
            {
                "apiVersion": api.API_VERSION,
                "kind": api.KIND,
                "name": model["name"],
                "uid": model["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def hashed(item: Object) -> Object:
    """The object with the annotation that holds its content hash: equal content means that nothing is written."""
    annotations = {**item["metadata"].get("annotations", {}), names.ANNOTATION_HASH: content_hash(item)}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}
