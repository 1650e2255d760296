"""An answer from a worker pod, through the queue, with the official client."""

import base64
import subprocess
import sys
from pathlib import Path

import openai
import pytest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=180) as client:
        yield client


def streamed(client, name):
    with client.chat.completions.create(model=name, messages=QUESTION, stream=True, temperature=0) as chunks:
        return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]


def test_llama_cpp_answers_streamed_and_not(kubectl, model, ready, client):
    kubectl.apply(model)
    ready()
    whole = client.chat.completions.create(model="headrace/sample-chat", messages=QUESTION, temperature=0)
    assert whole.choices[0].message.content == ANSWER
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 0
    parts = streamed(client, "headrace/sample-chat")
    assert "".join(parts) == ANSWER
    assert len([part for part in parts if part]) > 3
    assert [one.id for one in client.models.list()] == ["headrace/sample-chat"]


def test_a_known_model_without_workers_is_held_until_one_comes(kubectl, model, ready, client):
    kubectl.apply({**model, "spec": {**model["spec"], "replicas": 0}})
    ready()
    kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=1")
    whole = client.chat.completions.create(model="headrace/sample-chat", messages=QUESTION, temperature=0)
    assert whole.choices[0].message.content == ANSWER


def test_an_unknown_model_is_not_found(kubectl, client):  # noqa: ARG001
    with pytest.raises(openai.NotFoundError, match="nobody/knows"):
        client.chat.completions.create(model="nobody/knows", messages=QUESTION)


def test_a_spider_worker_joins_the_queue_of_the_chart(kubectl, base_url, client, wait_for):
    secret = kubectl.get("secret", "headrace-worker-token")["data"]["token"]
    worker = ROOT / "tests" / "queue" / "seed_worker.py"
    url = base_url.replace("http://", "ws://").replace("/v1", "/worker")
    command = [sys.executable, worker, url, base64.b64decode(secret).decode()]
    with subprocess.Popen(command) as process:
        try:
            name = "TheBloke/CoolModelv2:Q4_K_M"

            def asked():
                try:
                    return client.chat.completions.create(model=name, messages=QUESTION)
                except openai.NotFoundError:  # not connected yet
                    return None

            answer = wait_for("the Spider worker has joined", asked, 20)
            assert answer.choices[0].message.content == ANSWER
            assert "".join(streamed(client, name)) == ANSWER
        finally:
            process.terminate()
