"""What the console shows to whom, without a browser."""

from dataclasses import replace

import pytest
from queue_setup import DONE, Queue, chunk, eventually
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import ModelLoad, ModelState, Starting
from headrace_queue.console import state
from headrace_queue.console.state import Sight, document
from headrace_queue.keys.viewer import EVERYTHING, Viewer
from headrace_queue.snapshot import WaitingView, WorkerView

ONE = Viewer("k1", lambda model: model == "a")


def waits(request_id: str, model: str, key: str, eta_s: float | None = None) -> WaitingView:
    return WaitingView(request_id, model, key, 0, (), 0, 98.5, eta_s)


def works(name: str, models: frozenset[str] | None, **fields: object) -> WorkerView:
    blank = WorkerView(1, name, models, "", "ready", "", 0, 0, (), None, 0, resting=False)
    return replace(blank, **fields)


@pytest.fixture
def sight() -> Sight:
    fetching = Starting(state="fetching", detail="model.safetensors", done_bytes=25, total_bytes=100)
    return Sight(
        replica="q-0",
        now=100.0,
        draining=False,
        load={"b": ModelLoad(queued=2, starting={"b-0": fetching}), "a": ModelLoad(queued=1, running=3, workers=1)},
        states={"b": ModelState(ready=False, reason="NotEnoughGpus", message="asks for 2 GPUs")},
        completion_tokens={"a": 7.0},
        workers=[
            works("a-0", frozenset({"a", "secret"}), running=3, credits=1),
            works("b-0", frozenset({"b"}), state="fetching", detail="model.safetensors"),
            works("", None, credits=1, resting=True, failures=3),
        ],
        waiting=[waits("r1", "a", "k1", 2.0), waits("r2", "a", "k2"), waits("r3", "b", "k1")],
    )


def test_models_have_the_operators_word_and_what_their_workers_are_at(sight: Sight) -> None:
    a, b = document(sight, EVERYTHING)["models"]
    assert a == {
        "name": "a", "ready": True, "reason": "WorkersReady", "message": "", "queued": 1, "running": 3, "workers": 1,
        "completion_tokens": 7.0,
    }  # fmt: skip
    assert (b["ready"], b["reason"]) == (False, "NotEnoughGpus")
    assert b["message"] == "asks for 2 GPUs; b-0 is fetching 25 %: model.safetensors"


def test_a_model_that_no_operator_knows_is_ready_with_a_worker(sight: Sight) -> None:
    alone = replace(sight, states={}, load={"x": ModelLoad(), "y": ModelLoad(workers=1)})
    found = {model["name"]: (model["ready"], model["reason"]) for model in document(alone, EVERYTHING)["models"]}
    assert found == {"x": (False, "NoWorker"), "y": (True, "WorkersReady")}


def test_workers_that_are_given_nothing_say_so(sight: Sight) -> None:
    told = {worker["name"]: (worker["state"], worker["detail"]) for worker in document(sight, EVERYTHING)["workers"]}
    assert told[""] == ("resting", "given nothing after 3 failures")
    assert told["b-0"] == ("fetching", "model.safetensors")


def test_waiting_requests_have_their_times(sight: Sight) -> None:
    first, second, _ = document(sight, EVERYTHING)["waiting"]
    assert (first["waited_seconds"], first["eta_seconds"]) == (1.5, 2.0)
    assert second["eta_seconds"] is None


def test_a_key_sees_its_models_their_workers_and_its_own_requests(sight: Sight) -> None:
    found = document(sight, ONE)
    assert [model["name"] for model in found["models"]] == ["a"]
    assert [(worker["name"], worker["models"]) for worker in found["workers"]] == [("a-0", ["a"]), ("", None)]
    assert [one["request_id"] for one in found["waiting"]] == ["r1"]
    assert found["chats"]
    assert (found["replica"], found["queued"], found["running"]) == ("q-0", 1, 3)


def test_the_list_of_waiting_requests_is_bounded(sight: Sight) -> None:
    many = replace(sight, waiting=[waits(str(number), "a", "") for number in range(state.MOST_WAITING + 5)])
    assert [one["request_id"] for one in document(many, EVERYTHING)["waiting"]][-1] == str(state.MOST_WAITING - 1)


async def told(queue: Queue) -> float:
    async with queue.http.get(f"{queue.url}/console/state") as answer:
        [model] = (await answer.json())["models"]
        return float(model["completion_tokens"])


async def test_tokens_count_as_they_pass_and_exactly_once_the_engine_has_counted(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        stream = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("a") + chunk("b")), (job.job, chunk("c")[:20]))
        await worker.pieces((job.job, chunk("c")[20:]))
        answer = aiter(await stream)
        for _ in "abc":
            await anext(answer)
        assert await told(queue) == 3
        await worker.pieces((job.job, DONE))
        usage = wire.Usage(prompt_tokens=5, completion_tokens=7, total_tokens=12)
        await worker.result(job, usage=usage, receipt=job.receipt)
        await eventually(lambda: not queue.server.dispatcher.streamed())
        assert await told(queue) == 7, "of which none is counted twice"
