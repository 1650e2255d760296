"""The worker's pod template: restricted Pod Security profile, read-only root, probes on the metrics port."""

from typing import Any

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec, SecretKeyRef
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.patch import strategic_merge

_USER = 10001
"""The runtime images' user."""
_FILES = (names.CONFIG_FILE, names.RAY_FILE)
"""What a worker sees of its revision's ConfigMap."""


def pod_template(spec: InferenceModelSpec, labels: dict[str, str], config: RenderConfig) -> dict[str, Any]:
    """The template with the model's own patch applied; its revision names the ConfigMap that is mounted."""
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": labels[names.LABEL_MODEL],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": config.grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [_tolerate(state, config.node_lost_seconds) for state in ("not-ready", "unreachable")],
            "containers": [_container(spec, config)],
            "volumes": [
                {"name": "config", "configMap": {"items": [{"key": name, "path": name} for name in _FILES]}},
                *({"name": name, "emptyDir": kind} for name, (_, kind) in _scratch(spec).items()),
            ],
        },
    }
    merged = strategic_merge(template, spec.template)
    # by these the operator finds its pods, so a patch cannot change them
    final: dict[str, Any] = strategic_merge(merged, {"metadata": template["metadata"]})
    return final


def _tolerate(state: str, seconds: int) -> dict[str, Any]:
    return {
        "key": f"node.kubernetes.io/{state}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }


def _container(spec: InferenceModelSpec, config: RenderConfig) -> dict[str, Any]:
    port = spec.monitoring.metrics_port
    return {
        "name": names.WORKER_CONTAINER,
        "image": config.image(spec.engine.type),
        "imagePullPolicy": config.image_pull_policy,
        "args": ["--config", f"{names.CONFIG_FOLDER}/{names.CONFIG_FILE}"],
        "env": _environment(spec, config),
        "ports": [{"name": "metrics", "containerPort": port, "protocol": "TCP"}],
        "readinessProbe": _probe("/readyz", port, period=2, failures=3),
        "livenessProbe": _probe("/healthz", port, period=10, failures=6),
        "resources": _resources(spec),
        # a worker that cannot even start says why on stderr only
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": names.CONFIG_FOLDER, "readOnly": True},
            *({"name": name, "mountPath": path} for name, (path, _) in _scratch(spec).items()),
        ],
    }


def _scratch(spec: InferenceModelSpec) -> dict[str, tuple[str, dict[str, Any]]]:
    """Writable volumes: name to mount path and kind of `emptyDir`."""
    volumes: dict[str, tuple[str, dict[str, Any]]] = {"tmp": ("/tmp", {}), "cache": ("/var/lib/headrace", {})}  # noqa: S108
    if spec.engine.type != "LlamaCppEngine":
        # the processes of one engine share tensors; the container runtime's own 64 MiB are not enough for vLLM to start
        volumes["shm"] = ("/dev/shm", {"medium": "Memory"})  # noqa: S108
    return volumes


def _environment(spec: InferenceModelSpec, config: RenderConfig) -> list[dict[str, Any]]:
    grace = max(config.grace_seconds - 10, 5)  # the engine still has to stop within the pod's own grace period
    environment: list[dict[str, Any]] = [
        {"name": "LOG_LEVEL", "value": spec.monitoring.log_level},
        {"name": names.ENV_WORKER_NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": names.ENV_GRACE_SECONDS, "value": str(grace)},
    ]
    if secret := _token_secret(spec, config):
        reference = {"name": secret.name, "key": secret.key}
        environment.append({"name": names.ENV_QUEUE_TOKEN, "valueFrom": {"secretKeyRef": reference}})
    return environment


def _token_secret(spec: InferenceModelSpec, config: RenderConfig) -> SecretKeyRef | None:
    """Choose the token: the model's own; the chart's only for the chart's queue, so that no other host is sent it."""
    if spec.queue.token_secret_ref:
        return spec.queue.token_secret_ref
    if spec.queue.url is None and config.token_secret_name:
        return SecretKeyRef(name=config.token_secret_name, key=config.token_secret_key)
    return None


def _probe(path: str, port: int, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(spec: InferenceModelSpec) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if (cpus := spec.scaling.num_cpus_per_worker) is not None:
        resources["requests"] = {"cpu": f"{round(cpus * spec.scaling.num_workers * 1000)}m"}
    if spec.gpus:
        resources["limits"] = {"nvidia.com/gpu": str(spec.gpus)}
    return resources
