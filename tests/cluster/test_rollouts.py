"""Rollouts with real workers: no request is lost, one GPU is enough, what fails is stopped, the rest waits."""

import threading
import time
from contextlib import contextmanager

import openai
import pytest

from setup import install

pytestmark = pytest.mark.cluster

QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
MODEL = "inferencemodels.headrace.dev"
OF_MODELS = "headrace.dev/model"
GPU_NODE = "headrace-2"


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@contextmanager
def asking(client):
    """Ask the model without a pause, from three threads; gives what was answered and what went wrong."""
    answers, errors, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                whole = client.chat.completions.create(
                    model="headrace/sample-chat", messages=QUESTION, temperature=0, timeout=60
                )
                answers.append(whole.choices[0].message.content)
            except openai.OpenAIError as error:
                errors.append(repr(error))
            time.sleep(0.05)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers, errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def with_spec(model, **spec):
    engine = {**model["spec"]["engine"], **spec.pop("engine", {})}
    return {**model, "spec": {**model["spec"], "engine": engine, **spec}}


def status(kubectl, name="sample-chat"):
    return kubectl.get(MODEL, name).get("status", {})


def condition(kubectl, kind):
    return next((one for one in status(kubectl).get("conditions", []) if one["type"] == kind), {})


def pods(kubectl):
    found = kubectl.items("pods", "-l", OF_MODELS)
    return {pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")}


def config_maps(kubectl):
    return {one["metadata"]["name"] for one in kubectl.items("configmaps", "-l", OF_MODELS)}


def test_a_surge_loses_no_request(kubectl, model, ready, client, wait_for):
    kubectl.apply(model)
    old = ready()["status"]["rollout"]["revision"]
    before = pods(kubectl)
    with asking(client) as (answers, errors):
        wait_for("the first answers", lambda: len(answers) > 5)
        kubectl.apply(with_spec(model, engine={"maxTotalTokens": 256}))
        found = ready()
        wait_for("the old worker is gone", lambda: pods(kubectl).isdisjoint(before), 90)
        count = len(answers)
        wait_for("answers of the new worker", lambda: len(answers) > count + 5)
    assert errors == []
    assert set(answers) == {ANSWER}
    rollout = found["status"]["rollout"]
    assert rollout["revision"] == rollout["readyRevision"] != old
    wait_for(
        "the old revision's ConfigMap goes", lambda: config_maps(kubectl) == {f"sample-chat-{rollout['revision']}"}, 90
    )


@pytest.fixture
def one_gpu(kubectl):
    """One node with one GPU."""
    path = "/status/capacity/nvidia.com~1gpu"

    def patch(operation):
        kubectl("patch", "node", GPU_NODE, "--subresource=status", "--type=json", "-p", operation)

    patch(f'[{{"op": "add", "path": "{path}", "value": "1"}}]')
    yield {"numGpusPerWorker": 1}
    patch(f'[{{"op": "remove", "path": "{path}"}}]')


def test_with_one_gpu_a_surge_is_stopped_and_replace_goes_through(kubectl, model, ready, wait_for, one_gpu):
    wait_for(
        "the GPU can be had",
        lambda: kubectl.get("node", GPU_NODE)["status"]["allocatable"].get("nvidia.com/gpu") == "1",
        60,
    )
    gpu = with_spec(model, scaling=one_gpu, rollout={"progressDeadlineSeconds": 10})
    kubectl.apply(gpu)
    ready()
    (worker,) = pods(kubectl)
    kubectl.apply(with_spec(gpu, engine={"maxTotalTokens": 256}))
    wait_for("the rollout is stopped", lambda: condition(kubectl, "Stalled").get("reason") == "RolloutFailed", 60)
    wait_for("the old worker alone is left", lambda: pods(kubectl) == {worker}, 30)
    assert "nvidia.com/gpu" in condition(kubectl, "Stalled")["message"]
    replace = {"strategy": "Replace", "progressDeadlineSeconds": 60}
    kubectl.apply(with_spec(gpu, engine={"maxTotalTokens": 256}, rollout=replace))
    ready()
    assert worker not in pods(kubectl)
    assert status(kubectl)["rollout"].get("failedRevision") is None


@pytest.mark.parametrize("policy", ["Stop", "RollBack"])
def test_a_revision_that_cannot_start_is_taken_away(kubectl, model, ready, wait_for, *, client, policy):
    strategy = {"Stop": "Surge", "RollBack": "Replace"}[policy]
    rollout = {"onFailure": policy, "strategy": strategy, "progressDeadlineSeconds": 20}
    sound = with_spec(model, rollout=rollout)
    kubectl.apply(sound)
    old = ready()["status"]["rollout"]["revision"]
    kubectl.apply(with_spec(sound, engine={"hfModelId": "/opt/headrace/models/nowhere"}))
    wait_for("the rollout has failed", lambda: condition(kubectl, "Stalled").get("reason") == "RolloutFailed", 120)
    assert "nowhere" in condition(kubectl, "Stalled")["message"]
    wait_for("a worker of the ready revision", lambda: condition(kubectl, "WorkersReady").get("status") == "True", 90)
    wait_for("it alone", lambda: len(pods(kubectl)) == 1, 60)
    found = status(kubectl)["rollout"]
    assert found["revision"] == found["readyRevision"] == old
    assert found["failedRevision"] not in {None, old}
    whole = client.chat.completions.create(model="headrace/sample-chat", messages=QUESTION, temperature=0)
    assert whole.choices[0].message.content == ANSWER
    kubectl.apply(with_spec(sound, engine={"maxTotalTokens": 256}))
    ready()


@pytest.fixture
def chart_default(kubectl):  # noqa: ARG001
    """Upgrade the chart to another default; the old one comes back after the test."""
    yield lambda: install.chart({"runtime.graceSeconds": "61"})
    install.chart({"runtime.graceSeconds": "60"})


def test_a_changed_default_of_the_chart_waits_for_approval(
    kubectl, model, ready, wait_for, *, quiet_seconds, chart_default
):
    kubectl.apply(model)
    ready()
    before = pods(kubectl)
    chart_default()
    pending = wait_for("a pending rendering", lambda: status(kubectl).get("pendingRender"), 60)
    assert "pod: spec.terminationGracePeriodSeconds" in pending["changes"]
    assert condition(kubectl, "UpToDate")["reason"] == "PendingRender"
    assert condition(kubectl, "Ready")["status"] == "True"
    assert f"sample-chat-{pending['revision']}" in config_maps(kubectl)
    quiet_seconds(5)
    assert pods(kubectl) == before
    kubectl("annotate", MODEL, "sample-chat", f"headrace.dev/approve-render={pending['revision']}")
    wait_for("other workers", lambda: pods(kubectl).isdisjoint(before) and pods(kubectl), 90)
    ready()
    assert status(kubectl).get("pendingRender") is None
    assert condition(kubectl, "UpToDate")["status"] == "True"
