"""GPUs: said when they are missing, counted by the real scheduler where there are some (nodes played by kwok)."""

import pytest

from embedded import local

pytestmark = pytest.mark.cluster

GPU_NODES = {"tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]}


@pytest.fixture
def gpu_model(model):
    engine = {"type": "VLLMEngine", "modelId": "meta-llama/Llama-2-70b-chat-hf"}
    return {**model, "spec": {"replicas": 2, "engine": engine, "scaling": {"numWorkers": 8}}}


def test_missing_gpus_are_in_the_status(kubectl, gpu_model, wait_for):
    kubectl.apply(gpu_model)

    def message():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next((one["message"] for one in found.get("conditions", []) if one["reason"] == "NotEnoughGpus"), "")

    assert "Insufficient nvidia.com/gpu" in wait_for("the scheduler's message", message, 20)


def test_workers_land_on_gpu_nodes_and_one_too_many_waits(kubectl, gpu_model, wait_for):
    local.up(2, fake_count=3, embedded=True)
    template = {"spec": {**GPU_NODES, "nodeSelector": {"headrace.dev/accelerator": "a100"}}}
    kubectl.apply({**gpu_model, "spec": {**gpu_model["spec"], "template": template}})

    def half_ready():
        status = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return status if status.get("workers") == "1/2" else None

    # one a100 node with eight GPUs: it holds one worker of eight
    status = wait_for("one worker runs", half_ready, 30)
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NotEnoughGpus")
    pods = kubectl.items("pods", "-l", "headrace.dev/model")
    assert [pod["spec"].get("nodeName") for pod in pods if pod["spec"].get("nodeName")] == ["fake-a100-2"]
