"""All objects of one model: the ConfigMap with both files and the workers' Deployment."""

import hashlib
import json
from typing import Any

from headrace_api import inference_model as api
from headrace_api import names
from headrace_api.convert import worker_config
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import ray_yaml, worker_toml
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.pod import pod_template

Object = dict[str, Any]

_PROGRESS_SECONDS = 1800
"""How long a rollout may take: large models load for many minutes."""


def content_hash(content: Any) -> str:
    """16 hex digits of the canonical JSON of `content`."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def selector(name: str) -> dict[str, str]:
    """The labels by which the workers of the model called `name` are found."""
    return {names.LABEL_NAME: "headrace-worker", names.LABEL_MODEL: name}


def files(spec: InferenceModelSpec, config: RenderConfig) -> dict[str, str]:
    """The rendered files by name."""
    return {
        names.CONFIG_FILE: _worker_file(spec, config),
        names.RAY_FILE: ray_yaml.to_yaml(ray_yaml.document(spec)),
    }


def worker_hash(spec: InferenceModelSpec, config: RenderConfig) -> str:
    """The hash of what the worker reads; a change of it, and not of the replica count, rolls the pods."""
    return content_hash(_worker_file(spec, config))


def _worker_file(spec: InferenceModelSpec, config: RenderConfig) -> str:
    return worker_toml.to_toml(worker_config.from_spec(spec, config.queue_url))


def children(
    metadata: Object, spec: InferenceModelSpec, config: RenderConfig, replicas: int | None = None
) -> list[Object]:
    """Every object that shall exist for the model, in the order in which to apply them.

    Args:
        metadata: the model's `metadata`, of which name, namespace and uid are used.
        spec: the model's spec.
        config: the installation's values; `config.images` has the model's engine.
        replicas: how many workers were decided on; as the spec begins when None.
    """
    objects = [_config_map(metadata, spec, config)]
    if spec.enabled:
        objects.append(_deployment(metadata, spec, config, spec.first_replicas if replicas is None else replicas))
    return [_hashed(item) for item in objects]


def _config_map(metadata: Object, spec: InferenceModelSpec, config: RenderConfig) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(metadata),
        "data": files(spec, config),
    }


def _deployment(metadata: Object, spec: InferenceModelSpec, config: RenderConfig, replicas: int) -> Object:
    name = metadata["name"]
    labels = {**selector(name), names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(metadata),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector(name)},
            "progressDeadlineSeconds": _PROGRESS_SECONDS,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": pod_template(spec, labels, name, worker_hash(spec, config), config),
        },
    }


def _metadata(model: Object) -> Object:
    return {
        "name": model["name"],
        "namespace": model["namespace"],
        "labels": {**selector(model["name"]), names.LABEL_MANAGED_BY: names.MANAGED_BY},
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


def _hashed(item: Object) -> Object:
    metadata = {**item["metadata"], "annotations": {names.ANNOTATION_HASH: content_hash(item)}}
    return {**item, "metadata": metadata}
