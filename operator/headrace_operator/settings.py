"""The operator's settings: options and `HEADRACE_OPERATOR_*` variables. The only reader of the environment."""

import argparse
import json
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from headrace_api import names
from headrace_api.base import Document
from headrace_operator.render.config import FROM_JSON, RenderConfig


class SettingsError(Exception):
    """A setting is missing or cannot be read; the message names it and says what is accepted."""


class WebhookSettings(Document):
    """The admission webhook."""

    port: int = Field(ge=1, le=65535)
    host: str = Field(min_length=1)
    """The DNS name by which the API server calls the webhook: `<service>.<namespace>.svc`."""
    configuration: str = Field(min_length=1)
    """The name of both webhook configurations, whose `caBundle` the operator writes when it makes the certificate."""
    certificates: Path | None = None
    """A folder with `tls.crt` and `tls.key`, kept current by somebody else; without it the operator makes its own."""


class LeaseSettings(Document):
    """The Lease by which several operators agree on the one that writes."""

    name: str = Field(min_length=1)
    namespace: str = Field(min_length=1)
    identity: str = Field(min_length=1)
    """What the holder is called; no two processes may share it, so that a part of it is drawn at each start."""
    seconds: int = Field(default=15, ge=2, le=3600)
    """How long a holder that is not heard of is waited for."""
    renew_seconds: float = Field(default=10, ge=1)
    """How long a holder goes on without a renewal; the rest of `seconds` is for requests still under way."""

    @model_validator(mode="after")
    def _gives_up_before_others_take_over(self) -> Self:
        if self.renew_seconds >= self.seconds:
            raise ValueError(f"has to be less than --lease-seconds ({self.seconds}); got {self.renew_seconds:g}")
        return self


class Settings(Document):
    """Everything that the operator is told from outside."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to watch; empty: all of them."""
    render: RenderConfig
    queue_admin_url: str | None = None
    """The queue's admin port, for load and catalogue; without it there is no queue depth in the status."""
    health_port: int = Field(default=8081, ge=1, le=65535)
    """Health, readiness and metrics."""
    webhook: WebhookSettings | None = None
    """None: no admission webhook is served."""
    lease: LeaseSettings | None = None
    """None: no election, because no other operator runs."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    in_cluster: bool = False
    """Whether to use the pod's service account; else the user's kubeconfig."""
    resync_seconds: float = Field(default=120, gt=0)
    """How often every model is looked at though nothing was heard of it."""


def read(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the options; an option that is not given is taken from the environment.

    Raises:
        SettingsError: a value is missing or cannot be read.
    """
    parser = argparse.ArgumentParser(prog="headrace-operator", description=__doc__)
    for name, text in _OPTIONS.items():
        variable = names.ENV_OPERATOR_PREFIX + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", default=environment.get(variable), help=f"{text} [{variable}]")
    given = vars(parser.parse_args(arguments))
    tree = _tree({key: value for key, value in given.items() if value is not None})
    tree["in_cluster"] = in_cluster(environment)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = [f"{_option(one['loc'])}: {one['msg']} (got {one['input']!r:.200})" for one in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def in_cluster(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in environment


_OPTIONS = {
    "namespaces": "comma-separated namespaces to watch; all when empty",
    "queue-url": "the URL at which workers reach the queue",
    "queue-admin-url": "the URL of the queue's admin port",
    "images": 'the runtime image of each engine, as JSON: {"LlamaCppEngine": "name:tag"}',
    "image-pull-policy": "Always, IfNotPresent or Never, for the workers' images",
    "image-pull-secrets": 'the Secrets that the workers\' images are pulled with, as JSON: [{"name": "registry"}]',
    "token-secret-name": "the Secret with the worker token, in the model's namespace",
    "token-secret-key": "the key of the token in that Secret",
    "credentials-secret-name": "the Secret with keys for the places of weights, in the model's namespace",
    "grace-seconds": "how long a worker may take to finish",
    "node-lost-seconds": "how long after its node stops answering a worker is replaced",
    "network-policies": "true or false: whether workers get a NetworkPolicy",
    "pod-monitors": "true or false: whether workers get a PodMonitor where the cluster has that kind",
    "pod-monitor-labels": "further labels of PodMonitors, as JSON",
    "gpus-per-node": "GPUs of the largest node, which the rules compare models with",
    "accelerators": 'the accelerator profiles, as JSON: {"a10": {"nodeSelector": {"accelerator": "a10"}}}',
    "default-accelerator": "the profile of models that need GPUs and name no kind",
    "model-cache": 'where workers keep models, as JSON: {"persistentVolumeClaim": "models"}',
    "health-port": "the port of health, readiness and metrics",
    "webhook-port": "the port of the admission webhook; none is served when absent",
    "webhook-host": "the DNS name of the webhook's Service: NAME.NAMESPACE.svc",
    "webhook-configuration": "the name of the webhook configurations, which are told to trust the certificate",
    "webhook-certificates": "a folder with tls.crt and tls.key; the operator makes its own certificate when absent",
    "lease-name": "the Lease that the operator which writes holds; no election when absent",
    "lease-namespace": "the namespace of the Lease",
    "lease-seconds": "after how long another operator takes over from one that is not heard of",
    "lease-renew-seconds": "after how long without a renewal an operator stops writing",
    "resync-seconds": "how often every model is looked at though nothing was heard of it",
    "log-level": "DEBUG, INFO, WARNING or ERROR",
}
_TOP = frozenset({"namespaces", "queue_admin_url", "health_port", "resync_seconds", "log_level"})
_GROUPS = {"webhook": "port", "lease": "name"}
"""Settings of one prefix belong together; they count when the one named here is given."""


def _tree(given: Mapping[str, str]) -> dict[str, object]:
    tree: dict[str, Any] = {key: value for key, value in given.items() if key in _TOP}
    if "namespaces" in given:
        tree["namespaces"] = [name for name in given["namespaces"].split(",") if name]
    for group, first in _GROUPS.items():
        inside = {key.removeprefix(f"{group}_"): value for key, value in given.items() if key.startswith(f"{group}_")}
        if first in inside:
            tree[group] = inside
    if "lease" in tree:
        tree["lease"] = {"identity": f"{socket.gethostname()}_{secrets.token_hex(4)}", **tree["lease"]}
    prefixes = tuple(f"{group}_" for group in _GROUPS)
    render: dict[str, object] = {
        key: value for key, value in given.items() if key not in _TOP and not key.startswith(prefixes)
    }
    for name in FROM_JSON:
        if name in given:
            render[name] = _json(name, given[name])
    return {**tree, "render": render}


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{_option((name,))}: not JSON ({error}): {text!r:.200}") from None


def _option(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part != "render"]
    if parts[0] in _GROUPS:
        parts = ["-".join(parts)]
    return "--" + ".".join(parts).replace("_", "-")
