"""The worker's pod template: restricted Pod Security profile, read-only root, probes on the metrics port."""

from typing import Any

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec, SecretKeyRef
from headrace_operator.render.accelerators import placement
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.patch import strategic_merge
from headrace_operator.render.resources import resources
from headrace_operator.render.volumes import keeps_claim, mounts, volumes

_START_SECONDS = 7200
"""How long an engine may load before its container is started anew.

Not spec.rollout.progressDeadlineSeconds, by which a slow start is reported: a change of that must not replace workers.
"""
_USER = 10001
"""The runtime images' user."""


def pod_template(spec: InferenceModelSpec, labels: dict[str, str], config: RenderConfig) -> dict[str, Any]:
    """The template with the model's own patch applied; its revision names the ConfigMap that is mounted."""
    profile = config.accelerator(spec)
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": labels[names.LABEL_MODEL],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": config.grace_seconds,
            "securityContext": _security(spec, config),
            **_pull_secrets(config),
            **placement(spec, labels, profile, config.node_lost_seconds),
            "containers": [_container(spec, config)],
            "volumes": volumes(spec, labels[names.LABEL_MODEL], config.model_cache),
        },
    }
    merged = strategic_merge(template, spec.template)
    # by these the operator finds its pods, so a patch cannot change them
    final: dict[str, Any] = strategic_merge(merged, {"metadata": template["metadata"]})
    return final


def _security(spec: InferenceModelSpec, config: RenderConfig) -> dict[str, Any]:
    context: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if keeps_claim(spec, config.model_cache):
        # else the kubelet walks over all models of the cache before each start
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    return context


def _pull_secrets(config: RenderConfig) -> dict[str, Any]:
    """The field is left out without any, so that the service account's own count."""
    secrets = [{"name": secret.name} for secret in config.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def _container(spec: InferenceModelSpec, config: RenderConfig) -> dict[str, Any]:
    port = spec.monitoring.metrics_port
    return {
        "name": names.WORKER_CONTAINER,
        "image": config.image_of(spec),
        "imagePullPolicy": config.image_pull_policy,
        "args": ["--config", f"{names.CONFIG_FOLDER}/{names.CONFIG_FILE}"],
        "env": _environment(spec, config),
        **_credentials(spec, config),
        "ports": [{"name": "metrics", "containerPort": port, "protocol": "TCP"}],
        # until the engine answers; it also tells a worker that still loads from one that the queue does not have
        "startupProbe": _probe("/startedz", port, period=1, failures=_START_SECONDS),
        "readinessProbe": _probe("/readyz", port, period=2, failures=3),
        "livenessProbe": _probe("/healthz", port, period=10, failures=6),
        "resources": resources(spec, config.accelerator(spec)),
        # a worker that cannot even start says why on stderr only
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts(spec),
    }


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


def _credentials(spec: InferenceModelSpec, config: RenderConfig) -> dict[str, Any]:
    """Keys for the places of weights. What `env` says wins over them; the field is left out without any."""
    chosen = spec.engine.credentials_secret_ref
    name = chosen.name if chosen else config.credentials_secret_name
    return {"envFrom": [{"secretRef": {"name": name}}]} if name else {}


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
