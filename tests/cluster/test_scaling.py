"""Autoscaling with real workers: from zero, up under a burst, down while answers are streamed, back to zero."""

import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

pytestmark = pytest.mark.cluster

NAME = "headrace/sample-chat"
QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
POLICY = {
    "minReplicas": 0,
    "maxReplicas": 3,
    "targetOngoingRequestsPerReplica": 2,
    "metricsIntervalSeconds": 1,
    "lookBackPeriodSeconds": 3,
    "upscaleDelaySeconds": 2,
    "downscaleDelaySeconds": 8,
}


@pytest.fixture
def scaled(model):
    model["spec"]["deployment"] = {"autoscaling": dict(POLICY), "maxConcurrentQueries": 4}
    return model


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=180) as client:
        yield client


def pods(kubectl):
    found = kubectl.items("pods", "-l", "headrace.dev/model=sample-chat")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def scaling(kubectl):
    return kubectl.get("inferencemodels.headrace.dev", "sample-chat")["status"]["scaling"]


class Clients:
    """Clients that ask again and again until they are told to stop."""

    def __init__(self, client):
        self.client = client
        self.stopping = threading.Event()

    def ask(self):
        """Every answer of one client, streamed; an error ends it and fails the test."""
        answers = []
        while not self.stopping.is_set():
            with self.client.chat.completions.create(
                model=NAME, messages=QUESTION, temperature=0, stream=True
            ) as chunks:
                answers.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
        return answers


def test_a_model_at_zero_answers_and_goes_back_to_zero(kubectl, scaled, ready, client, wait_for):
    kubectl.apply(scaled)
    found = ready()
    assert (found["status"]["workers"], found["spec"]["replicas"]) == ("0/0", 1)
    assert not pods(kubectl)
    whole = client.chat.completions.create(model=NAME, messages=QUESTION, temperature=0)
    assert whole.choices[0].message.content == ANSWER
    decision = scaling(kubectl)
    assert (decision["desiredReplicas"], decision["decidedBy"]) == (1, "autoscaler")
    assert "0 -> 1 at once" in decision["reason"]
    wait_for("no worker is left", lambda: not pods(kubectl), 60)
    assert scaling(kubectl)["desiredReplicas"] == 0
    assert ready()["spec"]["replicas"] == 1


def test_a_burst_scales_up_and_down_and_no_answer_is_lost(  # noqa: PLR0917  # fixtures
    kubectl, scaled, ready, client, wait_for, quiet_seconds
):
    scaled["spec"]["deployment"]["autoscaling"]["minReplicas"] = 1
    kubectl.apply(scaled)
    ready()
    many, one = Clients(client), Clients(client)
    with ThreadPoolExecutor(9) as threads:
        burst = [threads.submit(many.ask) for _ in range(8)]
        steady = threads.submit(one.ask)
        try:
            wait_for("three workers", lambda: len(pods(kubectl)) == 3, 60)
            ready()
            quiet_seconds(5)
            many.stopping.set()
            wait_for("one worker, while the last client is still being answered", lambda: len(pods(kubectl)) == 1, 120)
            quiet_seconds(5)
        finally:
            many.stopping.set()
            one.stopping.set()
        answers = [answer for task in (*burst, steady) for answer in task.result()]
    assert len(answers) > 20
    assert set(answers) == {ANSWER}


def test_without_autoscaling_the_scale_subresource_decides(kubectl, model, ready, wait_for):
    kubectl.apply(model)
    ready()
    kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=2")
    wait_for("two workers", lambda: ready()["status"]["workers"] == "2/2")
    assert (scaling(kubectl)["desiredReplicas"], scaling(kubectl)["decidedBy"]) == (2, "spec.replicas")
    kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=0")
    wait_for("no worker", lambda: not pods(kubectl))
