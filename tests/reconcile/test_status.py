"""The status: what kstatus makes of it, that its times and words are honest, and what it tells."""

import itertools

import pytest
from tests.reconcile import kstatus
from tests.reconcile.root_cause_examples import ended, unscheduled

from headrace_api import progress
from headrace_api.inference_model_status import PendingRender, RolloutStatus, ScalingStatus
from headrace_api.load import ModelLoad, Starting
from headrace_api.worker_config import Generator, fingerprint
from headrace_operator.observed import Observed, Plan, Problem
from headrace_operator.status import endpoint, status

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:10:00Z"
CRASH = "the engine exited with status 1 before it was ready\nRuntimeError: NCCL error: x\nlast lines:\n"
NO_GPUS = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def deployment(ready=0, replicas=2, generation=1, **status):
    return {
        "kind": "Deployment",
        "metadata": {"name": "sample", "generation": 1},
        "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {}}},
        "status": {
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
            **status,
        },
    }


@pytest.fixture
def tell(model, config):
    """Write the status of the model as it is observed; returns the model as it is stored then."""

    def write(*pods, workload=None, problem=None, now=NOW, load=None, before=None, scaling=None, **more):
        stored = before or model
        children = (workload,) if workload else ()
        observed = Observed(stored, children, pods, load, scaling=scaling)
        found = status(observed, problem, config, now, **more)
        return {**stored, "status": found.model_dump(mode="json", by_alias=True, exclude_none=True)}

    return write


def conditions(item):
    return {one["type"]: one for one in item["status"]["conditions"]}


def words(item):
    return {kind: one["status"] for kind, one in conditions(item).items()}


PASSING = Problem("Waits", "it waits", permanent=False)
PERMANENT = Problem("Refused", "it is refused", hint="change it")
CASES = {
    "being made": ({}, "InProgress", "Progressing"),
    "workers start": ({"workload": deployment()}, "InProgress", "Progressing"),
    "some are ready": ({"workload": deployment(1)}, "InProgress", "Progressing"),
    "all are ready": ({"workload": deployment(2)}, "Current", "WorkersReady"),
    "ready, but of an older template": ({"workload": deployment(2, generation=0)}, "InProgress", "Progressing"),
    "ready, but just written": ({"workload": deployment(2), "settled": False}, "InProgress", "Progressing"),
    "waits for something": ({"problem": PASSING}, "InProgress", "Waits"),
    "cannot be written": ({"problem": PERMANENT}, "Failed", "Refused"),
}


@pytest.mark.parametrize("case", CASES)
def test_kstatus_agrees(tell, case):
    observed, expected, reason = CASES[case]
    item = tell(**observed)
    assert kstatus.compute(item) == expected
    assert conditions(item)["Ready"]["reason"] == reason


@pytest.mark.parametrize(
    ("pod", "expected", "reason"),
    [
        (unscheduled(NO_GPUS), "InProgress", "NotEnoughGpus"),
        (ended(CRASH), "InProgress", "GpuCommunicationFailed"),
        (ended(CRASH, restarts=2), "Failed", "GpuCommunicationFailed"),
        (ended("x: error: unrecognized arguments: --a", 2), "Failed", "UnknownArgument"),
    ],
)
def test_a_cause_that_may_pass_is_in_progress_and_one_that_stays_has_failed(tell, pod, expected, reason):
    item = tell(pod, workload=deployment())
    assert kstatus.compute(item) == expected
    found = conditions(item)
    assert {found[kind]["reason"] for kind in ("Ready", "Reconciling", "Stalled")} == {reason}
    assert "To mend it: " in found["Ready"]["message"]


def test_disabled_and_scaled_to_zero_are_done(tell, model):
    model["spec"]["enabled"] = False
    item = tell()
    assert (kstatus.compute(item), conditions(item)["Ready"]["reason"]) == ("Current", "Disabled")
    model["spec"] |= {"enabled": True, "replicas": 0}
    item = tell(workload=deployment(replicas=0))
    assert (kstatus.compute(item), conditions(item)["Ready"]["reason"]) == ("Current", "ScaledToZero")


def test_a_spec_that_cannot_be_read_has_failed_at_once_and_keeps_the_numbers(tell, model):
    before = tell(workload=deployment(2))
    model["spec"]["engine"].pop("modelId")
    item = tell(before={**before, "spec": model["spec"]}, workload=deployment(2))
    assert kstatus.compute(item) == "Failed"
    assert item["status"]["workers"] == "2/2"
    assert words(item)["ConfigValid"] == "False"


def test_a_spec_that_the_operator_has_not_seen_yet_is_in_progress(tell):
    item = tell(workload=deployment(2))
    item["metadata"] = {**item["metadata"], "generation": item["metadata"]["generation"] + 1}
    assert kstatus.compute(item) == "InProgress"


def test_an_edit_that_mends_a_failure_is_in_progress_and_not_failed(tell):
    """The pods of the earlier spec still fail for a moment; that is no verdict on the new one."""
    failed = tell(ended("x: error: unrecognized arguments: --a", 2), workload=deployment())
    assert kstatus.compute(failed) == "Failed"
    pods = ended("x: error: unrecognized arguments: --a", 2)
    assert kstatus.compute(tell(pods, workload=deployment(), settled=False)) == "InProgress"
    assert kstatus.compute(tell(pods, workload=deployment(generation=0))) == "InProgress"


READY_REVISION = Plan(rollout=RolloutStatus(revision="a" * 16, ready_revision="a" * 16))


def test_somebodys_annotation_on_the_deployment_does_not_make_ready_workers_unready(tell):
    """It raises the Deployment's generation, which its controller has not observed yet."""
    ready = tell(workload=deployment(2), decision=READY_REVISION)
    lagging = deployment(2, generation=0)
    kept = tell(workload=lagging, before=ready, decision=READY_REVISION, now=LATER)
    assert kept["status"] == ready["status"]


def test_numbers_of_before_do_not_make_a_newer_spec_revision_or_number_of_workers_ready(tell):
    lagging, ready = deployment(2, generation=0), tell(workload=deployment(2), decision=READY_REVISION)

    def still_ready(before=ready, **more):
        return words(tell(workload=lagging, before=before, **{"decision": READY_REVISION, **more}))["Ready"] == "True"

    assert still_ready()
    newer = {**ready, "metadata": {**ready["metadata"], "generation": ready["metadata"]["generation"] + 1}}
    assert not still_ready(before=newer)
    rolled_out = Plan(rollout=RolloutStatus(revision="b" * 16, ready_revision="a" * 16))
    assert not still_ready(decision=rolled_out)
    more = ScalingStatus(desired_replicas=3, decided_by="autoscaler", reason="72 ongoing", time=NOW)
    assert not still_ready(scaling=more)
    assert not still_ready(settled=False)
    assert not still_ready(before=tell(workload=deployment(1), decision=READY_REVISION))


def test_reconciling_stalled_and_ready_exclude_each_other(tell):
    workloads = (None, deployment(), deployment(2), deployment(2, generation=0))
    pods = ((), (unscheduled(NO_GPUS),), (ended(CRASH, restarts=2),))
    for workload, some, problem in itertools.product(workloads, pods, (None, PASSING, PERMANENT)):
        found = words(tell(*some, workload=workload, problem=problem))
        assert [found[kind] for kind in ("Ready", "Reconciling", "Stalled")].count("True") == 1


def test_times_change_with_the_status_of_a_condition_only(tell):
    starting = tell(workload=deployment())
    starved = tell(unscheduled(NO_GPUS), workload=deployment(), before=starting, now=LATER)
    ready = conditions(starved)["Ready"]
    assert (ready["reason"], ready["lastTransitionTime"]) == ("NotEnoughGpus", NOW)
    assert conditions(starved)["Reconciling"]["lastTransitionTime"] == NOW
    done = conditions(tell(workload=deployment(2), before=starved, now=LATER))
    assert {kind for kind, one in done.items() if one["lastTransitionTime"] == LATER} == {
        "Ready",
        "Reconciling",
        "WorkersReady",
        "ModelLoaded",
    }


def test_the_whole_status(tell, model):
    model["spec"]["deployment"] = {"autoscaling": {"maxReplicas": 4}}
    scaling = ScalingStatus(desired_replicas=2, decided_by="autoscaler", reason="48 ongoing", time=NOW)
    file = 'edition = 1\n[generator]\ntype = "LlamaCppEngine"\nmodel_id = "a"\n'
    decision = Plan(rollout=RolloutStatus(revision="0123456789abcdef"), worker_file=file)
    item = tell(workload=deployment(2), load=ModelLoad(queued=3, running=4), scaling=scaling, decision=decision)
    told = item["status"]
    assert told["observedGeneration"] == 3
    assert (told["replicas"], told["readyReplicas"], told["workers"]) == (2, 2, "2/2")
    assert (told["queued"], told["running"]) == (3, 4)
    assert told["endpoint"] == "http://headrace-queue.headrace.svc:8080/v1"
    assert told["modelName"] == "headrace/sample-chat"
    assert told["fingerprint"] == fingerprint(Generator(type="LlamaCppEngine", model_id="a"))
    assert len(told["configHash"]) == 16
    assert told["scaling"]["desiredReplicas"] == 2
    assert told["rollout"] == {"revision": "0123456789abcdef"}
    assert set(words(item).values()) == {"True", "False"}
    assert list(words(item)) == [
        *("Ready", "Reconciling", "Stalled", "ConfigValid", "WorkersReady", "ModelLoaded", "UpToDate")
    ]


def test_the_scaler_says_how_many_workers_there_shall_be(tell):
    scaling = ScalingStatus(desired_replicas=3, decided_by="autoscaler", reason="72 ongoing", time=NOW)
    item = tell(workload=deployment(2), scaling=scaling)
    assert item["status"]["workers"] == "2/3"
    assert words(item)["Ready"] == "False"


def test_a_rendering_that_waits_is_told_with_what_approves_it(tell):
    pending = PendingRender(revision="fedcba9876543210", changes=["image"])
    item = tell(workload=deployment(2), decision=Plan(pending_render=pending))
    told = conditions(item)["UpToDate"]
    assert (told["status"], told["reason"]) == ("False", "PendingRender")
    assert "headrace.dev/approve-render=fedcba9876543210" in told["message"]
    assert "(image)" in told["message"]
    assert item["status"]["pendingRender"]["revision"] == "fedcba9876543210"
    assert kstatus.compute(item) == "Current"


def test_what_workers_are_made_of_is_kept_while_nobody_knows_it_and_not_guessed(tell):
    decision = Plan(worker_file='edition = 1\n[generator]\ntype = "LlamaCppEngine"\nmodel_id = "a"\n')
    known = tell(workload=deployment(2), decision=decision)
    kept = tell(workload=deployment(2), before=known)["status"]
    assert (kept["fingerprint"], kept["configHash"]) == (known["status"]["fingerprint"], known["status"]["configHash"])
    unknown = Plan(worker_file="edition = 9\n")
    refused = tell(workload=deployment(2), before=known, decision=unknown, problem=PERMANENT)["status"]
    assert refused["configHash"] == kept["configHash"]
    later = tell(workload=deployment(2), before=known, decision=unknown)["status"]
    assert "fingerprint" not in later
    assert later["configHash"] != kept["configHash"]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ("http://queue:8080", "http://queue:8080/v1"),
        ("https://queue.example.com/", "https://queue.example.com/v1"),
        ("wss://spider.example.com/worker", None),
    ],
)
def test_the_endpoint_of_a_queue(queue, expected):
    assert endpoint(queue) == expected


@pytest.mark.parametrize(
    ("workload", "numbers", "serving"),
    [
        (deployment(2), (2, 2, "2/2"), ("True", "True")),
        (deployment(1), (2, 1, "1/2"), ("False", "True")),
        (deployment(0), (2, 0, "0/2"), ("False", "False")),
        (None, (0, 0, "0/0"), ("True", "False")),
    ],
)
def test_what_serves_is_told_while_the_spec_cannot_be_read(tell, model, workload, numbers, serving):
    before = tell(workload=deployment(2))
    model["spec"]["engine"].pop("modelId")
    item = tell(before={**before, "spec": model["spec"]}, workload=workload)
    state = item["status"]
    assert (state["replicas"], state["readyReplicas"], state["workers"]) == numbers
    assert (words(item)["WorkersReady"], words(item)["ModelLoaded"]) == serving
    assert words(item)["ConfigValid"] == "False"


def test_the_workers_of_an_earlier_model_of_the_name_are_not_counted(model, config):
    owner = {"kind": "InferenceModel", "name": "sample", "uid": "of-the-earlier-one", "controller": True}
    former = {
        "kind": "Deployment",
        "metadata": {"name": "sample", "generation": 1, "ownerReferences": [owner]},
        "spec": {"replicas": 8, "template": {"spec": {}}},
        "status": {"observedGeneration": 1, "replicas": 8, "readyReplicas": 8, "updatedReplicas": 8},
    }
    found = status(Observed(model, (former,)), None, config, "2026-01-01T00:00:00Z")
    assert (found.replicas, found.ready_replicas, found.workers) == (0, 0, "0/2")


def starting(*numbers, state="fetching", **more):
    return {f"sample-{number}": Starting(state=state, **more) for number in numbers}


def test_a_worker_that_starts_is_told_of_with_how_far_it_is(tell):
    far = starting(1, detail="a.safetensors", done_bytes=3_200_000_000, total_bytes=14_100_000_000)
    item = tell(workload=deployment(), load=ModelLoad(starting=far))
    assert item["status"]["starting"] == [
        {
            "worker": "sample-1",
            "state": "fetching",
            "detail": "a.safetensors",
            "doneBytes": 3_200_000_000,
            "totalBytes": 14_100_000_000,
        }
    ]
    loaded = conditions(item)["ModelLoaded"]
    assert (loaded["status"], loaded["reason"]) == ("False", "NotLoaded")
    assert loaded["message"].endswith(": sample-1 is fetching 3.2 of 14.1 GB (a.safetensors)")
    assert conditions(item)["Ready"]["message"] == (
        "0 of 2 workers are ready: sample-1 is fetching 3.2 of 14.1 GB (a.safetensors)"
    )
    assert "starting" not in tell(workload=deployment(2), load=ModelLoad(workers=2), before=item)["status"]
    assert "starting" not in tell(workload=deployment(), load=None, before=item)["status"]


def test_of_many_workers_that_start_ten_are_listed_and_three_are_in_the_message(tell):
    item = tell(workload=deployment(), load=ModelLoad(starting=starting(*range(10, 30), state="loading")))
    assert [one["worker"] for one in item["status"]["starting"]] == [f"sample-{number}" for number in range(10, 20)]
    message = conditions(item)["ModelLoaded"]["message"]
    assert message.endswith(
        "sample-10 is loading; sample-11 is loading; sample-12 is loading, and 17 more are starting"
    )


def test_workers_of_an_earlier_spec_that_start_are_told_of_too(tell, model):
    model["spec"]["engine"].pop("modelId")
    item = tell(workload=deployment(), load=ModelLoad(starting=starting(1, state="warming")))
    assert item["status"]["starting"] == [{"worker": "sample-1", "state": "warming"}]
    assert "sample-1 is warming" in conditions(item)["ModelLoaded"]["message"]


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        (None, None, ""),
        (0, 14_100_000_000, "0.0 of 14.1 GB"),
        (None, 14_100_000_000, "0.0 of 14.1 GB"),
        (1_500_000, 140_000_000, "1.5 of 140.0 MB"),
        (3_200_000_000, None, "3.2 GB"),
    ],
)
def test_amounts_are_in_the_unit_of_the_whole(done, total, expected):
    assert progress.amount(done, total) == expected


def test_what_is_amiss_with_a_ready_worker_is_listed_and_changes_no_condition(tell):
    item = tell(workload=deployment(2), load=ModelLoad(workers=2))
    amiss = {"sample-2": "the adapter legal: it is not there"}
    told = tell(workload=deployment(2), load=ModelLoad(workers=2, notes=amiss), before=item)
    assert told["status"]["starting"] == [{"worker": "sample-2", "state": "ready", "detail": amiss["sample-2"]}]
    assert told["status"]["conditions"] == item["status"]["conditions"]
    assert "starting" not in tell(workload=deployment(2), load=ModelLoad(workers=2), before=told)["status"]
