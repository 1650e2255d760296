"""An installation of the chart for the traffic: two queues on one PostgreSQL, keys from a Secret, a webhook, models."""

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

import images
from embedded import layout, local
from setup import install
from tests.queue.postgres import Postgres, postgres
from tests.traffic import models
from tests.traffic.shell import MODELS, NAMESPACE, apply, get, is_ready, kubectl, pods, run
from tests.traffic.webhook import Billing
from toolbox import steps

RELEASE = "traffic"
QUEUE = "app.kubernetes.io/name=headrace-queue"
ENOUGH_S = 400.0
_MOUNTED = "EmbeddingEngine"


@dataclass
class Site:
    """A running installation."""

    url: str
    """Of the queues, by a port of the node: each new connection goes to any of them."""
    database: str
    keys: dict[str, str]
    """The secret of each client's key, by the key's id."""
    billing: Billing
    replicas: int

    async def queues_ready(self) -> bool:
        """Whether all queues serve."""
        return await all_ready(QUEUE, self.replicas)


@contextlib.asynccontextmanager
async def installed(clients: Sequence[str], replicas: int, *, keda: bool = False) -> AsyncIterator[Site]:
    """Install, and wait for the models; take all of it away again. `keda`: the model that sleeps is left to KEDA."""
    billing = Billing()
    keys = {client: f"sk-{secrets.token_urlsafe(24)}" for client in clients}
    with postgres(layout.HOST_ADDRESS) as server:
        async with billing.listening(layout.HOST_ADDRESS) as hook:
            try:
                with steps.step("traffic: what a run that was cut off has left"):
                    await remove()
                with steps.step("traffic: chart and models"):
                    await _secrets(_guarded(server), keys, billing)
                    await _chart(replicas, hook, keda=keda)
                    await apply(*models.manifests(asleep_by_others=keda))
                    await until("the models are ready", _models_ready)
                yield Site(await _url(), server.url, keys, billing, replicas)
            finally:
                with steps.step("traffic: everything away again"):
                    await remove()


async def remove() -> None:
    """Take the installation away; does nothing where there is none."""
    if not await kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"):
        return
    if await kubectl("get", "customresourcedefinitions", MODELS, "--ignore-not-found", "--output=name"):
        await kubectl("delete", MODELS, "--all", "--wait")
    await run(*_helm("uninstall", RELEASE, "--ignore-not-found", "--wait"))
    await kubectl("delete", "namespace", NAMESPACE, "--wait")


async def until(what: str, check: Callable[[], Awaitable[object]], seconds: float = ENOUGH_S, pause: float = 1) -> None:
    """Ask until it is so.

    Raises:
        TimeoutError: it has not come to be so.
    """
    end = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(pause)


async def all_ready(selector: str, count: int) -> bool:
    """Whether there are so many pods with the labels, and all of them serve."""
    found = await pods(selector)
    return len(found) == count and all(map(is_ready, found))


async def asleep() -> bool:
    """Whether the model that sleeps has no pod."""
    return not await pods(f"headrace.dev/model={models.SLEEPER}")


def _guarded(server: Postgres) -> str:
    """The URL for pods, which need a password."""
    password = secrets.token_urlsafe(16)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres PASSWORD '{password}'".encode())
    return f"postgresql://postgres:{password}@{server.host}:{server.port}/postgres"


async def _secrets(database: str, keys: dict[str, str], billing: Billing) -> None:
    listed = [{"id": one, "sha256": hashlib.sha256(key.encode()).hexdigest()} for one, key in keys.items()]
    contents = {
        "traffic-database": {"url": database},
        "traffic-keys": {"keys.yaml": json.dumps({"keys": listed})},
        "traffic-webhook": {"secret": base64.b64encode(billing.secret).decode()},
    }
    await apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    await apply(
        *(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
            for name, data in contents.items()
        )
    )


async def _chart(replicas: int, hook: str, *, keda: bool) -> None:
    runtime = {"tag": images.tag("runtime-llamacpp")}
    values: dict[str, Any] = {
        "operator": {"image": {"tag": images.tag("operator")}},
        "queue": {
            "image": {"tag": images.tag("queue")},
            "replicas": replicas,
            "service": {"type": "NodePort"},
            "database": {"existingSecret": "traffic-database"},
            "keys": {"existingSecret": "traffic-keys"},
            "keda": {"enabled": keda},
            "webhook": {"url": hook, "existingSecret": "traffic-webhook"},
        },
        "runtime": {
            # the worker's own image also runs the engine that is mounted
            "images": {"LlamaCppEngine": runtime, _MOUNTED: {"repository": "headrace/runtime-llamacpp", **runtime}},
        },
        "networkPolicies": {"queueEgress": [{"to": [{"ipBlock": {"cidr": f"{layout.HOST_ADDRESS}/32"}}]}]},
    }
    options = ("--install", RELEASE, install.CHART, "--values=-", "--wait", "--timeout=300s")
    await run(*_helm("upgrade", *options), text=json.dumps(values))


def _helm(*arguments: Any) -> list[Any]:
    return [local.helm(), "--kubeconfig", local.kubeconfig(), "--namespace", NAMESPACE, *arguments]


async def _models_ready() -> bool:
    found = (await get(MODELS))["items"]
    conditions = [one for model in found for one in model.get("status", {}).get("conditions", [])]
    return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions) == len(models.manifests())


async def _url() -> str:
    (port,) = (await get("service", f"{RELEASE}-queue"))["spec"]["ports"]
    return f"http://{layout.Node(1).address}:{port['nodePort']}"
