"""Models as the API server hands them out, and a cluster in memory for the decisions' tests."""

import copy
import functools
import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace_operator.observed import Observed
from headrace_operator.reconcile import Refused
from headrace_operator.render.config import RenderConfig

Object = dict[str, Any]


@pytest.fixture
def config() -> RenderConfig:
    return RenderConfig(
        queue_url="http://headrace-queue.headrace.svc:8080",
        token_secret_name="headrace-worker-token",
        images={"LlamaCppEngine": "docker.io/headrace/runtime-llamacpp:1", "VLLMEngine": "docker.io/headrace/vllm:1"},
    )


@pytest.fixture
def model() -> Object:
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {
            "name": "sample",
            "namespace": "models",
            "uid": "uid-1",
            "generation": 3,
            "resourceVersion": "7",
        },
        "spec": {"replicas": 2, "engine": {"type": "LlamaCppEngine", "modelId": "headrace/sample-chat"}},
    }


class MemoryCluster:
    """Keeps what is written, and answers `observe` as the watches would."""

    def __init__(self, model: Object) -> None:
        self.model = model
        self.children: dict[tuple[str, str], Object] = {}
        self.pods: tuple[Object, ...] = ()
        self.writes: list[tuple[str, str]] = []
        self.lost_objects: list[tuple[str, str]] = []
        self.newest_model: Object | None = None
        """When the one that is observed is not."""
        self.gone: set[tuple[str, str]] = set()
        """Observed, though they are gone."""
        self.unfit: set[tuple[str, str]] = set()
        """An apply over these is refused."""
        self.keeps_additions = False
        """List items that others added cannot be taken away."""
        self.additions: dict[tuple[str, str], Callable[[Object], None]] = {}
        """What others have added: no apply takes it away."""
        self.events: list[tuple[str, str, str]] = []
        self.refusal: Exception | None = None
        self.load: Any = None
        self.watching = True
        self.unseen: set[str] = set()
        self._stored: dict[tuple[str, str], tuple[str, int]] = {}

    def observe(self, key: tuple[str, str]) -> Observed | None:
        metadata = self.model["metadata"]
        if key != (metadata["namespace"], metadata["name"]):
            return None
        told = [child for child in self.children.values() if child["kind"] not in self.unseen]
        owned = [child for child in told if child["metadata"].get("ownerReferences")]
        seen = copy.deepcopy(Observed(self.model, tuple(owned), self.pods, self.load))
        for item in (seen.model, *seen.children, *seen.pods):
            self._stamp(item)
        self.model["metadata"]["resourceVersion"] = seen.model["metadata"]["resourceVersion"]
        return seen

    def _stamp(self, item: Object) -> None:
        """Give what a test changed in place a newer version, as the API server would have."""
        identity = item.get("kind", "Pod"), item["metadata"]["name"]
        version = int(item["metadata"].pop("resourceVersion", 0))
        content = json.dumps(item, sort_keys=True)
        known, stored = self._stored.get(identity, (content, version))
        version = max(version, stored) + (known != content)
        self._stored[identity] = content, version
        item["metadata"]["resourceVersion"] = str(version)

    def wrote(self, key: tuple[str, str], answer: Object) -> None:
        """What is written is there at once."""

    async def get(self, item: Object) -> Object | None:
        identity = item["kind"], item["metadata"]["name"]
        if item["kind"] == self.model["kind"]:
            return self.newest_model or self.model
        return None if identity in self.gone else self.children.get(identity)

    async def create(self, item: Object) -> Object | None:
        return None if await self.get(item) else await self.apply(item)

    async def apply(self, item: Object) -> Object:
        if self.refusal:
            raise self.refusal
        if (item["kind"], item["metadata"]["name"]) in self.unfit:
            raise Refused("minAvailable and maxUnavailable cannot be both set")
        self.writes.append(("apply", item["kind"]))
        before = self.children.get((item["kind"], item["metadata"]["name"]), {})
        live = copy.deepcopy({**item, "status": before.get("status", {})})
        self.additions.get((item["kind"], item["metadata"]["name"]), lambda _: None)(live)
        live["metadata"]["uid"] = f"uid-of-{item['kind']}-{item['metadata']['name']}"
        live["metadata"]["resourceVersion"] = before.get("metadata", {}).get("resourceVersion", "1")
        if "spec" in live:
            generation = before.get("metadata", {}).get("generation", 0)
            live["metadata"]["generation"] = generation + (before.get("spec") != live["spec"])
        self.children[item["kind"], item["metadata"]["name"]] = live
        answer = copy.deepcopy(live)
        self._stamp(answer)
        return answer

    async def remove(self, item: Object, pointers: Sequence[str]) -> Object | None:
        self.writes.append(("remove", item["kind"]))
        if self.keeps_additions:
            return None
        live = self.children[item["kind"], item["metadata"]["name"]]
        for pointer in pointers:
            *way, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
            del functools.reduce(operator.getitem, way, live)[last]
        live["metadata"]["generation"] += 1
        answer = copy.deepcopy(live)
        self._stamp(answer)
        return answer

    async def delete(self, item: Object) -> bool:
        self.writes.append(("delete", item["kind"]))
        identity = item["kind"], item["metadata"]["name"]
        self.unfit.discard(identity)
        return self.children.pop(identity, None) is not None and identity not in self.gone

    def lost(self, item: Object) -> None:
        self.lost_objects.append((item["kind"], item["metadata"]["name"]))

    async def patch_status(self, model: Object, status: Object) -> Object | None:
        self.writes.append(("status", model["kind"]))
        version = str(int(self.model["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.model["metadata"], "resourceVersion": version}
        now = {**self.model, "metadata": metadata, "status": {**(self.model.get("status") or {}), **status}}
        if self.watching:
            self.model = now
        return copy.deepcopy(now)

    async def annotate(self, item: Object, annotations: dict[str, str]) -> None:
        self.writes.append(("annotate", item["metadata"]["name"]))
        for pod in self.pods:
            if pod["metadata"]["name"] == item["metadata"]["name"]:
                pod["metadata"].setdefault("annotations", {}).update(annotations)

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        assert message
        self.events.append((model["metadata"]["name"], kind, reason))


@pytest.fixture
def cluster(model: Object) -> MemoryCluster:
    return MemoryCluster(model)
