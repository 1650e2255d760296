"""The volumes of a worker's pod: its files, room to write, shared memory, and the models that it has downloaded."""

from typing import Any

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec, ModelCache
from headrace_operator.render import adapters

Object = dict[str, Any]

MODELS_FOLDER = "/var/lib/headrace"
"""Where the runtime images keep what they download."""


_FILES = (names.CONFIG_FILE, names.RAY_FILE)
"""What a worker sees of its revision's ConfigMap."""


def volumes(spec: InferenceModelSpec, model: str, cache: ModelCache | None) -> list[Object]:
    """The pod's volumes; the ConfigMap with the worker's files is named by its revision.

    Args:
        spec: the model's.
        model: its name.
        cache: where the installation keeps models; the model's own setting wins.
    """
    files = {"items": [{"key": name, "path": name} for name in _FILES]}
    scratch = ({"name": name, **source} for name, (_, source) in _scratch(spec, spec.model_cache or cache).items())
    return [{"name": "config", "configMap": files}, *adapters.volume(spec, model), *scratch]


def mounts(spec: InferenceModelSpec) -> list[Object]:
    """Where the worker's container has them."""
    scratch = ({"name": name, "mountPath": path} for name, (path, _) in _scratch(spec, None).items())
    return [{"name": "config", "mountPath": names.CONFIG_FOLDER, "readOnly": True}, *adapters.mount(spec), *scratch]


def keeps_claim(spec: InferenceModelSpec, cache: ModelCache | None) -> bool:
    """Whether the models are on a volume that outlives the pod and that the kubelet may change the group of."""
    chosen = spec.model_cache or cache
    return chosen is not None and chosen.persistent_volume_claim is not None


def _scratch(spec: InferenceModelSpec, cache: ModelCache | None) -> dict[str, tuple[str, Object]]:
    """Writable volumes: name to mount path and source."""
    found: dict[str, tuple[str, Object]] = {
        "tmp": ("/tmp", {"emptyDir": {}}),  # noqa: S108
        "cache": (MODELS_FOLDER, _source(cache)),
    }
    if spec.engine.type != "LlamaCppEngine":
        # the processes of one engine share tensors; the container runtime's own 64 MiB are not enough for vLLM to start
        found["shm"] = ("/dev/shm", {"emptyDir": {"medium": "Memory"}})  # noqa: S108
    return found


def _source(cache: ModelCache | None) -> Object:
    if cache and cache.persistent_volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": cache.persistent_volume_claim}}
    if cache and cache.host_path is not None:
        # not DirectoryOrCreate: the directory would be root's, and the worker is not
        return {"hostPath": {"path": cache.host_path, "type": "Directory"}}
    return {"emptyDir": {}}
