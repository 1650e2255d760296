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

    def observe(self, key: tuple[str, str]) -> Observed | None:
        metadata = self.model["metadata"]
        if key != (metadata["namespace"], metadata["name"]):
            return None
        owned = [child for child in self.children.values() if child["metadata"].get("ownerReferences")]
        return copy.deepcopy(Observed(self.model, tuple(owned), self.pods, self.load))

    async def get(self, item: Object) -> Object | None:
        return self.children.get((item["kind"], item["metadata"]["name"]))

    async def apply(self, item: Object) -> None:
        if self.refusal:
            raise self.refusal
        self.writes.append(("apply", item["kind"]))
        self.children[item["kind"], item["metadata"]["name"]] = copy.deepcopy(item)

    async def delete(self, item: Object) -> None:
        self.writes.append(("delete", item["kind"]))
        del self.children[item["kind"], item["metadata"]["name"]]

    async def patch_status(self, model: Object, status: Object) -> None:
        self.writes.append(("status", model["kind"]))
        self.model["status"] = {**(self.model.get("status") or {}), **status}

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        assert message
        self.events.append((model["metadata"]["name"], kind, reason))


@pytest.fixture
def cluster(model: Object) -> MemoryCluster:
    return MemoryCluster(model)
