"""The operator's settings: options and `HEADRACE_OPERATOR_*` variables. The only reader of the environment."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from headrace_api import names
from headrace_api.base import Document
from headrace_operator.render.config import RenderConfig


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
    tree["in_cluster"] = "KUBERNETES_SERVICE_HOST" in environment
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = [f"{_option(one['loc'])}: {one['msg']} (got {one['input']!r:.200})" for one in error.errors()]
        raise SettingsError("\n".join(lines)) from None


_OPTIONS = {
    "namespaces": "comma-separated namespaces to watch; all when empty",
    "queue-url": "the URL at which workers reach the queue",
    "queue-admin-url": "the URL of the queue's admin port",
    "images": 'the runtime image of each engine, as JSON: {"LlamaCppEngine": "name:tag"}',
    "image-pull-policy": "Always, IfNotPresent or Never, for the workers' images",
    "token-secret-name": "the Secret with the worker token, in the model's namespace",
    "token-secret-key": "the key of the token in that Secret",
    "grace-seconds": "how long a worker may take to finish",
    "node-lost-seconds": "how long after its node stops answering a worker is replaced",
    "network-policies": "true or false: whether workers get a NetworkPolicy",
    "gpus-per-node": "GPUs of the largest node, which the rules compare models with",
    "health-port": "the port of health, readiness and metrics",
    "webhook-port": "the port of the admission webhook; none is served when absent",
    "webhook-host": "the DNS name of the webhook's Service: NAME.NAMESPACE.svc",
    "webhook-configuration": "the name of the webhook configurations, which are told to trust the certificate",
    "webhook-certificates": "a folder with tls.crt and tls.key; the operator makes its own certificate when absent",
    "resync-seconds": "how often every model is looked at though nothing was heard of it",
    "log-level": "DEBUG, INFO, WARNING or ERROR",
}
_TOP = frozenset({"namespaces", "queue_admin_url", "health_port", "resync_seconds", "log_level"})
_WEBHOOK = "webhook_"


def _tree(given: Mapping[str, str]) -> dict[str, object]:
    tree: dict[str, object] = {key: value for key, value in given.items() if key in _TOP}
    if "namespaces" in given:
        tree["namespaces"] = [name for name in given["namespaces"].split(",") if name]
    if "webhook_port" in given:
        tree["webhook"] = {
            key.removeprefix(_WEBHOOK): value for key, value in given.items() if key.startswith(_WEBHOOK)
        }
    render: dict[str, object] = {
        key: value for key, value in given.items() if key not in _TOP and not key.startswith(_WEBHOOK)
    }
    if "images" in given:
        render["images"] = _json(given["images"])
    return {**tree, "render": render}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"--images: not JSON ({error}): {text!r:.200}") from None


def _option(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part != "render"]
    if parts[0] == "webhook":
        parts = ["-".join(parts)]
    return "--" + ".".join(parts).replace("_", "-")
