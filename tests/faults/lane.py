"""A namespace with an operator of its own behind a proxy of its own, and the question whether all is as it must be."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_api import inference_model as hrm
from headrace_api import names
from headrace_operator.render.config import RenderConfig
from tests import plane as planes
from tests.faults import oracle, proxy
from tests.faults.api import Api, ApiError, Object, Ref, connect, is_model, ref
from tests.faults.operator_process import OperatorProcess, Zygote

CONFIG = RenderConfig(
    queue_url="http://headrace-queue.headrace.svc:8080",
    images={
        "LlamaCppEngine": "example.com/llamacpp:1",
        "VLLMEngine": "example.com/vllm:1",
        "TRTLLMEngine": "example.com/tensorrt:1",
        "EmbeddingEngine": "example.com/embedding:1",
    },
)
"""The installation's values, the same for the operators and for the oracle."""
_POLL_SECONDS = 0.1


@dataclass
class Lane:
    """What one test case uses of the cluster."""

    api: Api
    proxy: proxy.Proxy
    operator: OperatorProcess
    namespace: str
    foreign: dict[Ref, Object] = field(default_factory=dict)
    """Objects of others, as they were before the operator came."""
    runs: dict[str, Object | None] = field(default_factory=dict)
    """By model, the spec that its objects followed when all was last as it must be."""
    patience_seconds: float = 40.0
    """How long it may take to converge."""
    notes: dict[str, str] = field(default_factory=dict)
    """By uid of a child, the value of the foreign annotation that it was given."""

    async def create(self, name: str, spec: Object) -> Object:
        """A new model."""
        self.runs.pop(name, None)
        return await self.api.create(self.model(name, spec))

    def model(self, name: str, spec: Object | None = None) -> Object:
        """A manifest."""
        item = {"apiVersion": hrm.API_VERSION, "kind": hrm.KIND, "spec": spec or {}}
        return {**item, "metadata": {"name": name, "namespace": self.namespace}}

    async def note(self, item: Object) -> None:
        """Annotate a child as another controller does."""
        value = f"note {len(self.notes)}"
        live = await self.api.merge(item, {"metadata": {"annotations": {_NOTE: value}}})
        self.notes[live["metadata"]["uid"]] = value

    async def differences(self, *, ready: bool = True) -> list[str]:
        """In what the namespace is not as the specs say; with `ready` until all workers are available, too."""
        live = await self.api.snapshot(self.namespace)
        wanted = [self._wanted(item, live) for key, item in live.items() if is_model(key)]
        expected = oracle.expected(wanted, CONFIG)
        found = oracle.object_differences(expected, live, self.foreign) + self._notes_lost(live)
        for one in wanted:
            name, deployment = one.model["metadata"]["name"], self._deployment(one.model, live)
            found += oracle.status_differences(one, deployment, CONFIG)
            if ready and deployment and not oracle.is_available(deployment):
                found.append(f"Deployment {name} is not available: {json.dumps(deployment.get('status'))}")
        found = found or await self._fields(expected, live)
        if not found and ready:
            self.runs = {one.model["metadata"]["name"]: one.runs for one in wanted}
        return found

    async def converged(self, *, ready: bool = True) -> None:
        """Wait until there are no differences; an operator that was killed is started again, as a kubelet would."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            if not self.operator.running:
                self.operator.start()
            found = await self.differences(ready=ready)
            if not found and self.operator.running and not self.proxy.held:
                return
            if time.monotonic() > deadline:
                raise AssertionError(self._report(found))
            await asyncio.sleep(_POLL_SECONDS)

    async def quiet(self, seconds: float) -> bool:
        """Whether the operator writes nothing for so long."""
        before = len(self.proxy.writes)
        await asyncio.sleep(seconds)
        return len(self.proxy.writes) == before

    async def content(self) -> dict[str, Any]:
        """All objects, to be compared with those of another moment."""
        return oracle.content(await self.api.snapshot(self.namespace))

    def _wanted(self, model: Object, live: dict[Ref, Object]) -> oracle.Wanted:
        refused = oracle.is_refused(model)
        before = self.runs.get(model["metadata"]["name"])
        if refused or not oracle.is_valid(model, CONFIG):
            return oracle.Wanted(model, before, refused)
        deployment = self._deployment(model, live)
        rolling = deployment is not None and not oracle.is_available(deployment)
        return oracle.Wanted(model, model["spec"], leaves=before if rolling else None)

    def _deployment(self, model: Object, live: dict[Ref, Object]) -> Object | None:
        return live.get(("apps/v1", "Deployment", self.namespace, model["metadata"]["name"]))

    def _notes_lost(self, live: dict[Ref, Object]) -> list[str]:
        annotations = {item["metadata"]["uid"]: item["metadata"].get("annotations", {}) for item in live.values()}
        return [
            f"foreign annotation lost: {value}"
            for uid, value in self.notes.items()
            if uid in annotations and annotations[uid].get(_NOTE) != value
        ]

    async def _fields(self, expected: dict[Ref, Object], live: dict[Ref, Object]) -> list[str]:
        found: list[str] = []
        for key, item in expected.items():
            try:
                now = await self.api.canonical(item)
            except ApiError as error:
                found.append(f"{key[1]} {key[3]} cannot be applied: {error}")
                continue
            found += oracle.field_differences({"apiVersion": key[0], "kind": key[1], **now}, live[key])
            found += oracle.manager_differences(live[key])
        return found

    def _report(self, found: list[str]) -> str:
        calls = "\n".join(str(call) for call in self.proxy.writes[-20:])
        return (
            f"{self.namespace}: not converged within {self.patience_seconds} s:\n"
            + "\n".join(found)
            + f"\nlast writes:\n{calls}\noperator:\n{self.operator.last_lines()}"
        )


_NOTE = "example.com/note"


@dataclass
class Lanes:
    """Makes lanes on one control plane."""

    plane: planes.Plane
    zygote: Zygote
    token: str
    count: int = 0

    @asynccontextmanager
    async def open(self, name: str, **settings: str) -> AsyncIterator[Lane]:
        """A new lane with an operator that runs; `settings` are more of its options, such as `resync_seconds`."""
        self.count += 1
        namespace = f"{name}-{self.count}"
        kill: list[Callable[[], None]] = []
        certificate = str(self.plane.certificate)
        async with (
            proxy.serve(self.plane.url, certificate, lambda: kill[0]()) as door,  # noqa: PLW0108  # it is made below
            connect(self.plane.url, self.token, certificate) as api,
        ):
            operator = OperatorProcess(
                self.zygote, self._environment(namespace, door.port, settings), self._log(namespace)
            )
            kill.append(operator.kill)
            lane = Lane(api, door, operator, namespace)
            await _furnish(lane)
            operator.start()
            try:
                yield lane
            finally:
                operator.stop()

    def _log(self, namespace: str) -> Path:
        return self.plane.folder / f"{namespace}.log"

    def _environment(self, namespace: str, port: int, settings: dict[str, str]) -> dict[str, str]:
        url = f"http://127.0.0.1:{port}"
        options = {
            "namespaces": namespace,
            "queue_url": CONFIG.queue_url,
            "images": json.dumps(CONFIG.images),
            "health_port": str(planes.free_port()),
            **settings,
        }
        environment = {names.ENV_OPERATOR_PREFIX + key.upper(): value for key, value in options.items()}
        return {**environment, "KUBECONFIG": str(self.plane.kubeconfig_for(self.token, namespace, url))}


async def _furnish(lane: Lane) -> None:
    """Make the namespace, with objects of others that resemble the operator's own."""
    await lane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": lane.namespace}})
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_MODEL: "bystander"}
    metadata = {"name": "bystander", "namespace": lane.namespace, "labels": labels}
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "example.com/x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": pod}
    for kind in ("ConfigMap", "Secret", "ServiceAccount"):
        await lane.api.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    await lane.api.create(deployment)
    for _ in range(300):
        live = await lane.api.snapshot(lane.namespace)
        seen = live[ref(deployment)].get("status", {}).get("observedGeneration")
        furniture = {("v1", "ConfigMap", "kube-root-ca.crt"), ("v1", "ServiceAccount", "default")}
        if seen and furniture <= {(key[0], key[1], key[3]) for key in live}:
            lane.foreign = live
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the controller manager does not furnish namespaces")
