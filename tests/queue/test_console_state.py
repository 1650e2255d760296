"""What the console shows to whom, without a browser."""

from dataclasses import dataclass, field

import pytest

from headrace_api.load import ModelLoad, ModelState, Starting
from headrace_queue.access import Viewer
from headrace_queue.console import state
from headrace_queue.console.state import WaitingView, WorkerView, document

ALL = Viewer("admin", lambda _: True, sees_all_keys=True)
ONE = Viewer("k1", lambda model: model == "a", sees_all_keys=False)


@dataclass
class Source:
    loads: dict = field(default_factory=dict)
    told: dict = field(default_factory=dict)
    at_work: list = field(default_factory=list)
    queue: list = field(default_factory=list)
    draining: bool = False

    def load(self):
        return self.loads

    def states(self):
        return self.told

    def completion_tokens(self, model):
        return {"a": 7.0}.get(model, 0.0)

    def workers(self):
        return self.at_work

    def waiting(self):
        return self.queue


@pytest.fixture
def source():
    fetching = Starting(state="fetching", detail="model.safetensors", done_bytes=25, total_bytes=100)
    return Source(
        {"b": ModelLoad(queued=2, starting={"b-0": fetching}), "a": ModelLoad(queued=1, running=3, workers=1)},
        {"b": ModelState(ready=False, reason="NotEnoughGpus", message="asks for 2 GPUs")},
        [
            WorkerView("a-0", ("a", "secret"), "ready", "", 3, 1),
            WorkerView("b-0", ("b",), "fetching", "model.safetensors", 0, 0),
            WorkerView("", None, "ready", "", 0, 1),
        ],
        [
            WaitingView("r1", "a", "k1", 1.5, 2.0),
            WaitingView("r2", "a", "k2", 1.0, None),
            WaitingView("r3", "b", "k1", 1.0, None),
        ],
    )


def test_models_have_the_operators_word_and_what_their_workers_are_at(source):
    a, b = document(source, ALL)["models"]
    assert a == {
        "name": "a", "ready": True, "reason": "WorkersReady", "message": "", "queued": 1, "running": 3, "workers": 1,
        "completion_tokens": 7.0,
    }  # fmt: skip
    assert (b["ready"], b["reason"]) == (False, "NotEnoughGpus")
    assert b["message"] == "asks for 2 GPUs; b-0 is fetching 25 %: model.safetensors"


def test_a_model_that_no_operator_knows_is_ready_with_a_worker(source):
    source.told, source.loads = {}, {"x": ModelLoad(), "y": ModelLoad(workers=1)}
    found = {model["name"]: (model["ready"], model["reason"]) for model in document(source, ALL)["models"]}
    assert found == {"x": (False, "NoWorker"), "y": (True, "WorkersReady")}


def test_a_key_sees_its_models_their_workers_and_its_own_requests(source):
    found = document(source, ONE)
    assert [model["name"] for model in found["models"]] == ["a"]
    assert [(worker["name"], worker["models"]) for worker in found["workers"]] == [("a-0", ["a"]), ("", None)]
    assert [one["request_id"] for one in found["waiting"]] == ["r1"]
    assert (found["queued"], found["running"]) == (1, 3)


def test_the_list_of_waiting_requests_is_bounded(source):
    source.queue = [WaitingView(str(number), "a", "", 0.0, None) for number in range(state.MOST_WAITING + 5)]
    assert [one["request_id"] for one in document(source, ALL)["waiting"]][-1] == str(state.MOST_WAITING - 1)
