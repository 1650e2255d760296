"""Scaling with a real API server, controller manager, operator and queue; workers are played over the real protocol.

No pod runs: a worker joins the queue under the name of a pod that Kubernetes made, and leaves when the pod is deleted.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest
from tests import plane as planes
from tests.election.installation import until
from tests.plane import Plane
from v1_worker import V1Worker

from headrace_api import wire

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

MODEL = "org/m"
PLAIN = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": []}
FAST = {
    "minReplicas": 0,
    "maxReplicas": 3,
    "metricsIntervalSeconds": 0.5,
    "lookBackPeriodSeconds": 1,
    "upscaleDelaySeconds": 0,
    "downscaleDelaySeconds": 1,
}
COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass
class Installed:
    """A control plane with the operator and a queue as plain processes."""

    plane: Plane
    queue_port: int

    @property
    def worker_url(self):
        return f"ws://127.0.0.1:{self.queue_port}/worker"

    def apply(self, name, **spec):
        engine = {"type": "LlamaCppEngine", "modelId": MODEL}
        self.plane.apply(
            {
                "apiVersion": "headrace.dev/v1alpha1",
                "kind": "InferenceModel",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"engine": engine, **spec},
            }
        )

    def model(self, name):
        return self.plane.get("inferencemodels.headrace.dev", name)

    def status(self, name):
        """Empty until the operator has written one."""
        return self.model(name).get("status") or {}

    def pods(self, name):
        found = self.plane.get("pods", "-l", f"headrace.dev/model={name}")["items"]
        return {one["metadata"]["name"]: one for one in found if not one["metadata"].get("deletionTimestamp")}

    def replicas(self, name):
        return self.plane.get("deployments", name)["spec"]["replicas"]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with planes.running(controllers=True) as plane:
        port, admin = planes.free_port(), planes.free_port()
        options = ["--host", "127.0.0.1", "--port", str(port), "--admin-port", str(admin)]
        options += ["--data-folder", str(plane.folder)]
        plane.start("queue", [sys.executable, "-m", "headrace_queue", *options])
        operator = {
            "namespaces": "default",
            "queue-url": f"http://127.0.0.1:{port}",
            "queue-admin-url": f"http://127.0.0.1:{admin}",
            "images": json.dumps({"LlamaCppEngine": "example.com/runtime:1"}),
            "health-port": str(planes.free_port()),
        }
        plane.start_operator(operator)
        until("the queue is ready", lambda: planes.answers(port, "/readyz"))
        yield Installed(plane, port)
        for name in ("operator", "queue"):
            print((plane.folder / f"{name}.log").read_text()[-4000:])  # noqa: T201  # shown with a failure


@pytest.fixture
def name(installed, request):
    """A model's name; the model is deleted after the test."""
    name = request.node.name.replace("_", "-")[:40].strip("-").lower()
    yield name
    installed.plane.kubectl("delete", "inferencemodels.headrace.dev", name, "--wait", "--ignore-not-found")


async def eventually(what, check, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (value := await asyncio.to_thread(check)):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)
    return value


def ask(installed, http):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    url = f"http://127.0.0.1:{installed.queue_port}/v1/chat/completions"

    async def post():
        async with http.post(url, json=body) as response:
            return response.status, await response.json()

    return asyncio.create_task(post())


async def test_a_request_for_a_model_without_workers_is_held_and_answered(installed, name):
    installed.apply(name, deployment={"autoscaling": FAST})
    await eventually("the first decision", lambda: installed.status(name).get("scaling"))
    assert installed.replicas(name) == 0
    await eventually("the queue knows the model", lambda: planes.answers(installed.queue_port, f"/v1/models/{MODEL}"))
    async with aiohttp.ClientSession() as http:
        answer = ask(installed, http)
        pod = await eventually("a pod", lambda: next(iter(installed.pods(name)), None))
        scaling = installed.model(name)["status"]["scaling"]
        assert (scaling["desiredReplicas"], scaling["decidedBy"]) == (1, "autoscaler")
        assert scaling["reason"].startswith("1 request waiting and no worker: 0 -> 1 at once")
        async with V1Worker(installed.worker_url, MODEL, credit=1, name=pod) as worker:
            await worker.result(await worker.expect(wire.Job), body=PLAIN)
            assert await answer == (200, PLAIN)
            await eventually("back to zero", lambda: installed.replicas(name) == 0)
    assert installed.model(name)["spec"]["replicas"] == 1, "nobody writes spec.replicas"
    await eventually("no pod", lambda: not installed.pods(name))


async def test_scaling_down_takes_the_least_loaded_and_loses_nothing(installed, name):
    policy = FAST | {"initialReplicas": 3, "targetOngoingRequestsPerReplica": 1.5, "downscaleDelaySeconds": 3}
    installed.apply(name, deployment={"autoscaling": policy | {"minReplicas": 3}})
    pods = sorted(await eventually("three pods", lambda: len(installed.pods(name)) == 3 and installed.pods(name)))
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        busy, half, idle = [
            await stack.enter_async_context(V1Worker(installed.worker_url, MODEL, credit=credit, name=pod))
            for pod, credit in zip(pods, (2, 1, 0), strict=True)
        ]
        answers = [ask(installed, http) for _ in range(3)]
        jobs = [await busy.expect(wire.Job), await busy.expect(wire.Job)]
        last = await half.expect(wire.Job)
        assert not any(COST in pod["metadata"].get("annotations", {}) for pod in installed.pods(name).values())
        installed.apply(name, deployment={"autoscaling": policy | {"minReplicas": 0}})
        await eventually("two pods", lambda: len(installed.pods(name)) == 2)
        assert sorted(installed.pods(name)) == pods[:2], "the idle one goes"
        costs = {key: pod["metadata"]["annotations"][COST] for key, pod in installed.pods(name).items()}
        assert costs == {pods[0]: "2", pods[1]: "1"}
        await idle.socket.close()
        for job in jobs:
            await busy.result(job, body=PLAIN)
        await eventually("one pod", lambda: len(installed.pods(name)) == 1)
        assert list(installed.pods(name)) == [pods[1]], "the one that still works stays"
        await half.result(last, body=PLAIN)
        assert {status for status, _ in await asyncio.gather(*answers)} == {200}
    await eventually("no pod", lambda: not installed.pods(name))


async def test_an_operator_that_starts_anew_goes_on_from_the_status(installed, name):
    installed.apply(name, deployment={"autoscaling": FAST | {"initialReplicas": 2, "downscaleDelaySeconds": 600}})
    before = await eventually("a decision", lambda: installed.status(name).get("scaling"))
    await eventually("two", lambda: installed.replicas(name) == 2)
    plane = installed.plane
    command, environment = plane.children["operator"].args, {"KUBECONFIG": str(plane.kubeconfig)}
    plane.stop("operator", kill=True)
    plane.start("operator", command, environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
    installed.apply(name, deployment={"autoscaling": FAST | {"initialReplicas": 1, "downscaleDelaySeconds": 600}})
    generation = installed.model(name)["metadata"]["generation"]
    await eventually("it looked", lambda: installed.status(name).get("observedGeneration") == generation)
    assert installed.model(name)["status"]["scaling"] == before
    assert installed.replicas(name) == 2


async def test_where_autoscaling_decides_kubectl_scale_is_refused(installed, name):
    installed.apply(name, deployment={"autoscaling": FAST})
    scale = ["kubectl", "--kubeconfig", str(installed.plane.kubeconfig), "scale", f"hrm/{name}", "--replicas=2"]
    with pytest.raises(RuntimeError, match=r"HR206: spec\.replicas has no effect: deployment\.autoscaling decides"):
        installed.plane.kubectl(*scale[3:])
    installed.apply(name, deployment={})
    installed.plane.kubectl(*scale[3:])
    await eventually("two", lambda: installed.replicas(name) == 2)


async def test_kubectl_scale_and_a_horizontal_pod_autoscaler_scale_through_the_subresource(installed, name):
    installed.apply(name, replicas=1)
    await eventually("one pod", lambda: len(installed.pods(name)) == 1)
    installed.plane.kubectl("scale", f"inferencemodels.headrace.dev/{name}", "--replicas=2")
    await eventually("two pods", lambda: len(installed.pods(name)) == 2)
    await eventually("status.replicas", lambda: installed.status(name).get("replicas") == 2)
    scale = json.loads(
        installed.plane.kubectl(
            "get", "--raw", f"/apis/headrace.dev/v1alpha1/namespaces/default/inferencemodels/{name}/scale"
        )
    )
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    assert f"headrace.dev/model={name}" in scale["status"]["selector"]
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "name": name},
            "minReplicas": 3,
            "maxReplicas": 5,
        },
    }
    installed.plane.apply(hpa)
    try:
        await eventually("the HPA's minimum", lambda: installed.model(name)["spec"]["replicas"] == 3, 90)
        await eventually("three pods", lambda: len(installed.pods(name)) == 3)
        scaling = installed.model(name)["status"]["scaling"]
        assert (scaling["desiredReplicas"], scaling["decidedBy"]) == (3, "spec.replicas")
        owners = {
            one["manager"]
            for one in installed.plane.get("inferencemodels.headrace.dev", name, "--show-managed-fields")["metadata"][
                "managedFields"
            ]
            if "f:replicas" in one["fieldsV1"].get("f:spec", {})
        }
        assert "headrace-operator" not in owners
    finally:
        installed.plane.kubectl("delete", "hpa", name)


async def test_how_far_a_worker_is_comes_to_the_status_in_few_writes(installed, name):
    """A download is told ten times a second by a worker on somebody's own machine, which no pod stands for."""
    installed.apply(name, replicas=0)
    await eventually("at rest", lambda: installed.status(name).get("readyReplicas") == 0)
    versions = set()

    def far():
        model = installed.model(name)
        versions.add(model["metadata"]["resourceVersion"])
        return next((one for one in model["status"].get("starting") or () if one.get("doneBytes", 0) > 10**9), None)

    async with V1Worker(installed.worker_url, MODEL, name="lab", state="fetching") as worker:
        total, done, found = 14 * 10**9, 0, None
        deadline = time.monotonic() + 60
        while not found:
            assert time.monotonic() < deadline
            done = min(total, done + 10**8)
            await worker.send(wire.Report(state="fetching", detail="a.gguf", done_bytes=done, total_bytes=total))
            await asyncio.sleep(0.1)
            found = await asyncio.to_thread(far)
        assert found.items() >= {"worker": "lab", "state": "fetching", "detail": "a.gguf", "totalBytes": total}.items()
        assert len(versions) <= 4, "of many reports few are written"
        loaded = next(one for one in installed.model(name)["status"]["conditions"] if one["type"] == "ModelLoaded")
        assert "lab is fetching " in loaded["message"]
        assert loaded["message"].endswith(" of 14.0 GB (a.gguf)")
        await worker.send(wire.Report(state="ready"))
        await eventually("nothing starts any more", lambda: "starting" not in installed.model(name)["status"])
