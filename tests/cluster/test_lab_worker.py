"""A worker outside of the cluster: started by hand on the host, by the steps of docs/lab-machine.md."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest
import tomli_w

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "runtime" / "sample_model" / "sample-chat" / "sample-chat-f16.gguf"
NAME = "headrace/sample-chat"
QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


@pytest.fixture
def files(kubectl, base_url, tmp_path):
    """The worker's arguments and environment: its configuration, and the token of the chart in a file of its own."""
    secret = kubectl.get("secret", "headrace-worker-token")["data"]["token"]
    token, config = tmp_path / "queue-token", tmp_path / "worker_config.toml"
    token.write_bytes(base64.b64decode(secret))
    document = {
        "edition": 1,
        "generator": {"type": "LlamaCppEngine", "model_id": NAME, "hf_model_id": str(WEIGHTS)},
        "queue": {"url": base_url.removesuffix("/v1"), "tags": ["lab"]},
        "monitoring": {"metrics_port": 4017},
    }
    config.write_text(tomli_w.dumps(document))
    return ["--config", str(config)], {**os.environ, "HEADRACE_QUEUE_TOKEN_FILE": str(token)}


@pytest.fixture
def without_pods(kubectl, model, ready):
    """The InferenceModel of that name, which has no worker in the cluster."""
    kubectl.apply({**model, "spec": {**model["spec"], "replicas": 0}})
    return ready()


@pytest.mark.usefixtures("without_pods")
def test_a_worker_on_the_host_serves_a_request_of_the_clusters_queue(kubectl, base_url, files, wait_for):
    arguments, environment = files
    with (
        subprocess.Popen([sys.executable, "-m", "headrace_worker", *arguments], env=environment) as worker,
        openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as client,
    ):
        try:
            whole = client.chat.completions.create(model=NAME, messages=QUESTION, temperature=0)
            assert whole.choices[0].message.content == ANSWER
            with client.chat.completions.create(model=NAME, messages=QUESTION, stream=True, temperature=0) as chunks:
                parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
            assert "".join(parts) == ANSWER
            assert not kubectl.items("pods", "-l", "headrace.dev/model"), "the host has done it"
            worker.terminate()
            assert worker.wait(30) == 0
        finally:
            worker.kill()
    wait_for("the model is at rest again", lambda: _is_at_rest(kubectl), 30)


def _is_at_rest(kubectl):
    status = kubectl.get("inferencemodels.headrace.dev", "sample-chat")["status"]
    return not status.get("running") and not status.get("queued") and not status.get("starting")
