"""The autoscalers of all models: what they hear, when they count, what they remember and forget."""

import asyncio
import copy

import pytest
from tests.waiting import until

from headrace_api.load import ModelLoad
from headrace_operator.observed import Observed
from headrace_operator.scaling import autoscaler as autoscaler_module
from headrace_operator.scaling import policy as policy_module
from headrace_operator.scaling.autoscaler import Autoscaler
from headrace_operator.scaling.meter import Meter

QUEUE = "http://queue:8080"
MODEL = {
    "metadata": {"name": "m", "namespace": "models", "uid": "1"},
    "spec": {
        "engine": {"type": "LlamaCppEngine", "modelId": "org/m"},
        "deployment": {
            "autoscaling": {
                "minReplicas": 0,
                "maxReplicas": 8,
                "metricsIntervalSeconds": 10,
                "lookBackPeriodSeconds": 10,
                "upscaleDelaySeconds": 20,
                "downscaleDelaySeconds": 60,
            }
        },
    },
}
KEY = ("models", "m")


class World:
    """One model and its operator; the status is kept as the API server would."""

    def __init__(self, **autoscaling):
        self.now = 0.0
        self.autoscaler = Autoscaler(lambda: self.now, lambda: f"T{self.now:g}", QUEUE)
        self.model = copy.deepcopy(MODEL)
        self.model["spec"]["deployment"]["autoscaling"] |= autoscaling
        self.children = ()

    def reconcile(self):
        status = self.autoscaler.decide(Observed(self.model, self.children))
        self.model["status"] = {"scaling": status.model_dump(mode="json", by_alias=True)}
        return status.desired_replicas

    def hear(self, load, name="org/m"):
        keys = self.autoscaler.hear({} if load is None else {name: load})
        for _ in keys:
            self.reconcile()
        return keys

    def wait(self, seconds):
        """Let time pass as `run` does: counting when it is due."""
        until_ = self.now + seconds
        while (due := self.autoscaler.next_count) is not None and due <= until_:
            self.now = due
            for _ in self.autoscaler.count():
                self.reconcile()
        self.now = until_
        return self.scaling["desiredReplicas"]

    @property
    def scaling(self):
        return self.model["status"]["scaling"]


def deployment(replicas, uid):
    owner = {"kind": "InferenceModel", "name": "m", "uid": uid, "controller": True}
    return {"kind": "Deployment", "metadata": {"ownerReferences": [owner]}, "spec": {"replicas": replicas}}


def test_a_meter_sees_what_came_and_went_between_two_counts():
    meter = Meter(0.0, 0.0)
    meter.hear(4.0, 10.0)
    meter.hear(5.0, 0.0)
    assert meter.mean(10.0) == 1.0
    assert meter.mean(20.0) == 0.0
    meter.hear(20.0, 3.0)
    assert meter.mean(20.0) == 3.0


def test_a_new_model_begins_with_initial_replicas_else_with_min_replicas():
    assert World(initialReplicas=3).reconcile() == 3
    world = World(minReplicas=2)
    assert world.reconcile() == 2
    assert world.scaling == {"desiredReplicas": 2, "decidedBy": "autoscaler", "reason": "begins with 2", "time": "T0"}


def test_a_model_that_runs_already_goes_on_from_there():
    world = World(initialReplicas=1)
    world.children = (deployment(5, uid="1"),)
    assert world.reconcile() == 5


def test_what_an_earlier_model_of_the_name_has_left_says_nothing():
    world = World(initialReplicas=1)
    world.children = (deployment(5, uid="0"),)
    assert world.reconcile() == 1


@pytest.mark.parametrize(
    ("before", "replicas"), [("autoscaler", 4), ("spec.replicas", 4), ("spec.enabled", 2), ("nobody", 2)]
)
def test_the_status_is_what_an_operator_goes_on_from(before, replicas):
    world = World(initialReplicas=2)
    world.model["status"] = {"scaling": {"desiredReplicas": 4, "decidedBy": before, "reason": "r", "time": "T"}}
    assert world.reconcile() == replicas


def test_nothing_is_decided_anew_while_nothing_changes():
    world = World()
    world.reconcile()
    before = copy.deepcopy(world.scaling)
    world.now = 50
    world.hear(ModelLoad())
    world.reconcile()
    assert world.scaling == before


def test_without_autoscaling_spec_replicas_decides():
    world = World()
    world.model["spec"] |= {"replicas": 3, "deployment": {}}
    assert world.reconcile() == 3
    assert (world.scaling["decidedBy"], world.scaling["reason"]) == ("spec.replicas", "spec.replicas is 3")
    assert world.hear(ModelLoad(queued=100)) == []


def test_disabled_is_zero_and_forgets():
    world = World(initialReplicas=2)
    world.reconcile()
    world.model["spec"]["enabled"] = False
    assert world.reconcile() == 0
    assert world.scaling["decidedBy"] == "spec.enabled"
    assert world.hear(ModelLoad(queued=100)) == []
    world.model["spec"]["enabled"] = True
    assert world.reconcile() == 8  # from initialReplicas on, with 100 that wait and no worker


def test_a_spec_that_cannot_be_read_is_left_to_others():
    world = World()
    world.model["spec"] = {"replicas": "three"}
    assert world.autoscaler.decide(Observed(world.model)) is None


def test_a_first_request_wakes_its_model_and_no_other():
    world = World()
    assert world.reconcile() == 0
    assert world.hear(ModelLoad()) == []
    assert world.hear(ModelLoad(queued=3), name="org/other") == []
    assert world.hear(ModelLoad(queued=3)) == [KEY]
    assert world.scaling["desiredReplicas"] == 3


def test_a_load_that_stays_scales_up_and_down_with_the_delays():
    world = World(minReplicas=1)
    world.reconcile()
    world.hear(ModelLoad(running=4, workers=1))
    assert world.wait(29) == 1
    assert world.wait(1) == 4
    world.hear(ModelLoad(workers=4))
    assert world.wait(69) == 4
    assert world.wait(1) == 1


def test_one_short_request_a_minute_keeps_a_worker():
    world = World()
    world.reconcile()
    world.hear(ModelLoad(queued=1))
    for _ in range(30):
        world.hear(ModelLoad(running=1, workers=1))
        world.wait(0.05)
        world.hear(ModelLoad(workers=1))
        world.wait(59.95)
        assert world.scaling["desiredReplicas"] == 1
    assert world.wait(70) == 0


def test_requests_too_short_to_be_seen_keep_a_worker_too():
    world = World()
    world.reconcile()
    world.hear(ModelLoad(queued=1))
    for number in range(30):
        world.hear(ModelLoad(workers=1, taken=number))
        assert world.wait(60) == 1
    assert world.wait(70) == 0


def test_a_queue_that_began_to_count_anew_has_taken_nothing():
    world = World(minReplicas=1)
    world.reconcile()
    world.hear(ModelLoad(workers=1, taken=1000))
    world.hear(ModelLoad(workers=1, taken=0))
    assert world.wait(100) == 1
    assert world.autoscaler.next_count is None


def test_a_model_without_anything_to_do_is_not_counted():
    world = World()
    world.reconcile()
    assert world.autoscaler.next_count is None  # no numbers at all
    world.hear(ModelLoad())
    world.wait(100)
    assert world.autoscaler.next_count is None
    world.hear(ModelLoad(queued=1))
    assert world.autoscaler.next_count == world.now + 10
    world.hear(ModelLoad(workers=1))
    world.wait(200)
    assert (world.scaling["desiredReplicas"], world.autoscaler.next_count) == (0, None)


def test_a_model_that_rests_is_counted_again_when_its_policy_changes():
    world = World(minReplicas=3)
    world.reconcile()
    world.hear(ModelLoad(workers=3))
    world.wait(500)
    assert world.autoscaler.next_count is None
    world.model["spec"]["deployment"]["autoscaling"]["minReplicas"] = 1
    assert world.reconcile() == 3
    assert world.wait(200) == 1


def test_numbers_that_are_missing_never_scale_down():
    world = World(minReplicas=1)
    world.reconcile()
    world.hear(ModelLoad(running=4, workers=1))
    assert world.wait(30) == 4
    world.hear(ModelLoad(workers=4))
    world.wait(55)
    world.hear(None)
    assert world.wait(10_000) == 4
    world.hear(ModelLoad(workers=4))
    assert world.wait(65) == 4
    assert world.wait(10) == 1


def test_a_model_of_another_queue_has_no_numbers_here():
    world = World()
    world.model["spec"]["queue"] = {"url": "https://elsewhere.example.com"}
    world.reconcile()
    assert world.hear(ModelLoad(queued=5)) == []
    world.model["spec"]["queue"] = {"url": QUEUE}
    assert world.reconcile() == 5


def test_a_model_that_gets_another_name_is_heard_by_it():
    world = World()
    world.reconcile()
    world.model["spec"]["queue"] = {"checkpointName": "new"}
    world.reconcile()
    assert world.hear(ModelLoad(queued=1)) == []
    assert world.hear(ModelLoad(queued=1), name="new") == [KEY]


def another(name, **spec):
    model = copy.deepcopy(MODEL)
    model["metadata"] |= {"name": name, "uid": name}
    model["spec"] |= spec
    return Observed(model)


@pytest.mark.parametrize("other", [{}, {"replicas": 2, "deployment": {}}])
def test_models_of_one_name_share_its_load(other):
    world = World(minReplicas=1)
    world.reconcile()
    world.autoscaler.decide(another("other", **other))
    world.hear(ModelLoad(running=6, workers=2))
    assert world.wait(30) == 3
    world.autoscaler.forget(("models", "other"))
    assert world.wait(40) == 6


@pytest.mark.parametrize(
    "other",
    [
        {"enabled": False},
        {"replicas": 0, "deployment": {}},
        {"queue": {"url": "https://elsewhere.example.com"}},
        {"engine": {"type": "LlamaCppEngine", "modelId": "org/other"}},
    ],
)
def test_models_that_take_no_requests_of_the_name_have_no_part_of_its_load(other):
    world = World(minReplicas=1)
    world.reconcile()
    world.autoscaler.decide(another("other", **other))
    world.hear(ModelLoad(running=6, workers=2))
    assert world.wait(30) == 6


def test_models_that_are_gone_are_forgotten():
    world = World()
    world.reconcile()
    world.autoscaler.forget(KEY)
    world.autoscaler.forget(KEY)
    assert world.hear(ModelLoad(queued=1)) == []
    world.wait(100)
    assert not vars(world.autoscaler)["_models"]
    assert not vars(world.autoscaler)["_named"]


def test_a_model_whose_numbers_fail_does_not_stop_the_others(monkeypatch):
    world = World()
    other = copy.deepcopy(MODEL)
    other["metadata"]["name"] = "bad"
    other["spec"]["engine"]["modelId"] = "org/bad"
    other["spec"]["deployment"]["autoscaling"]["maxReplicas"] = 7
    world.reconcile()
    world.autoscaler.decide(Observed(other))

    def fails_for_one(policy, *arguments):
        if policy.max_replicas == 7:
            raise OverflowError("cannot convert float infinity to integer")
        return policy_module.decide(policy, *arguments)

    monkeypatch.setattr(autoscaler_module, "decide", fails_for_one)
    load = ModelLoad(queued=5)
    assert world.autoscaler.hear({"org/bad": load, "org/m": load}) == [KEY]
    world.now = 10.0
    assert world.autoscaler.count() == [KEY]
    assert world.autoscaler.next_count > world.now


async def test_it_counts_by_itself():
    autoscaler = Autoscaler(asyncio.get_running_loop().time, lambda: "T", QUEUE)
    woken = []
    task = asyncio.create_task(autoscaler.run(woken.append))
    model = copy.deepcopy(MODEL)
    model["spec"]["deployment"]["autoscaling"] |= {
        "minReplicas": 1,
        "metricsIntervalSeconds": 0.1,
        "lookBackPeriodSeconds": 0.1,
        "upscaleDelaySeconds": 0.1,
    }
    await asyncio.sleep(0)
    autoscaler.hear({"org/m": ModelLoad(running=1, workers=1)})
    assert autoscaler.decide(Observed(model)).desired_replicas == 1
    autoscaler.hear({"org/m": ModelLoad(running=5, workers=1)})
    await until(lambda: woken)
    assert autoscaler.decide(Observed(model)).desired_replicas == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
