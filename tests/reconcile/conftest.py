"""Models as the API server hands them out, and a cluster in memory for the decisions' tests."""

import copy
from typing import Any

import pytest

from headrace_operator.observed import Observed
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
        self.events: list[tuple[str, str, str]] = []
        self.refusal: Exception | None = None
        self.load: Any = None
        self.watching = True

    def observe(self, key: tuple[str, str]) -> Observed | None:
        metadata = self.model["metadata"]
        if key != (metadata["namespace"], metadata["name"]):
            return None
        owned = [child for child in self.children.values() if child["metadata"].get("ownerReferences")]
        return copy.deepcopy(Observed(self.model, tuple(owned), self.pods, self.load))

    async def get(self, item: Object) -> Object | None:
        return self.children.get((item["kind"], item["metadata"]["name"]))

    async def apply(self, item: Object) -> Object:
        if self.refusal:
            raise self.refusal
        self.writes.append(("apply", item["kind"]))
        before = self.children.get((item["kind"], item["metadata"]["name"]), {})
        live = copy.deepcopy({**item, "status": before.get("status", {})})
        live["metadata"]["uid"] = f"uid-of-{item['kind']}"
        if "spec" in live:
            generation = before.get("metadata", {}).get("generation", 0)
            live["metadata"]["generation"] = generation + (before.get("spec") != live["spec"])
        self.children[item["kind"], item["metadata"]["name"]] = live
        return copy.deepcopy(live)

    async def delete(self, item: Object) -> None:
        self.writes.append(("delete", item["kind"]))
        del self.children[item["kind"], item["metadata"]["name"]]

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
