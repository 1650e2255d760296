"""The table of root causes: each example is told by its own rule, and by no other."""

import copy
from dataclasses import replace

import pytest
from tests.reconcile import root_cause_engine_examples, root_cause_examples
from tests.reconcile.root_cause_examples import ended, pod, unscheduled, waiting, worker

from headrace_api.load import ModelLoad
from headrace_operator.observed import Capacity, Node, Observed
from headrace_operator.root_cause import RULES, cause, lost
from headrace_operator.root_cause.capacity import Devices, asked, free_gpus, matches, taints, used
from headrace_operator.root_cause.evidence import of_deployment, of_pod

EXAMPLES = (*root_cause_examples.EXAMPLES, *root_cause_engine_examples.EXAMPLES)
MODEL = {"metadata": {"uid": "1"}}
QUEUE = "http://queue:8080"
TIMED = "NotReadyInTime"  # has no text of its own


PROBED = {"containers": [{"name": "worker", "startupProbe": {"httpGet": {}}}]}


def evidence_of(example):
    return of_deployment(example.item) if example.of_deployment else of_pod(example.item, PROBED, queue_url=QUEUE)


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{index}-{one.reason}" for index, one in enumerate(EXAMPLES)])
def test_an_example_is_told_by_its_own_rule_only(example):
    evidence = evidence_of(example)
    found = [rule.reason for rule in RULES if rule.find(evidence) is not None]
    fallbacks = {rule.reason for rule in RULES if rule.fallback}
    if example.reason in fallbacks:
        assert found == [example.reason]
    else:
        assert [reason for reason in found if reason not in fallbacks] == [example.reason]
        assert found[0] == example.reason
    rule = next(rule for rule in RULES if rule.reason == example.reason)
    problem = rule.problem(evidence)
    assert problem.hint
    for words in example.words:
        assert words in problem.text
    assert "\n" not in problem.text


def test_every_rule_has_an_example_and_a_name_of_its_own():
    reasons = [rule.reason for rule in RULES]
    assert len(set(reasons)) == len(reasons) >= 20
    assert {example.reason for example in EXAMPLES} == set(reasons) - {TIMED}


def test_the_table_reads_well():
    for rule in RULES:
        assert rule.reason.isalnum()
        assert rule.meaning.endswith(".")
        assert rule.meaning[0].isupper() or rule.meaning.startswith("spec.")
        assert rule.hint[0].islower()
        assert not rule.hint.endswith(".")


def observed(*pods, status=None, capacity=None, annotations=None, spec=PROBED):
    template = {"metadata": {"annotations": annotations or {}}, "spec": {**spec, "nodeSelector": {"gpu": "a100"}}}
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "sample", "generation": 2},
        "spec": {"template": template},
        "status": {"observedGeneration": 2, **(status or {})},
    }
    return Observed(model=MODEL, children=(deployment,), pods=pods, capacity=capacity)


def reason(*pods, **more):
    found = cause(observed(*pods, **more), QUEUE)
    return found.reason if found else None


CRASH = "the engine exited with status 1 before it was ready\nRuntimeError: NCCL error: x\nlast lines:\n"


@pytest.mark.parametrize(("restarts", "permanent"), [(0, False), (1, False), (2, True), (9, True)])
def test_a_crash_that_comes_again_does_not_pass_by_itself(restarts, permanent):
    assert cause(observed(ended(CRASH, restarts=restarts))).permanent is permanent


def test_the_message_does_not_change_with_each_further_restart():
    texts = {cause(observed(ended(CRASH, restarts=restarts))).text for restarts in range(2, 9)}
    assert len(texts) == 1


def test_the_reason_stays_while_a_container_goes_round_in_its_crash_loop():
    end = {"terminated": {"exitCode": 1, "message": CRASH}}
    backing_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
    states = [
        worker(state=end, restartCount=3),
        worker(state=backing_off, lastState=end, restartCount=3),
        worker(state={"running": {}}, lastState=end, restartCount=4, started=False),
    ]
    assert {reason(pod(phase="Running", containerStatuses=[state])) for state in states} == {"GpuCommunicationFailed"}


def test_a_crash_is_history_once_the_engine_has_started_again():
    end = {"terminated": {"exitCode": 1, "message": CRASH}}
    state = worker(state={"running": {}}, lastState=end, restartCount=1, started=True)
    assert reason(pod(phase="Running", containerStatuses=[state])) == "QueueUnreachable"
    assert reason(pod(phase="Running", containerStatuses=[{**state, "ready": True}])) is None


def test_a_worker_that_the_queue_has_is_about_to_be_ready():
    starting = pod(phase="Running", containerStatuses=[worker(state={"running": {}}, started=True)])
    ready = pod(phase="Running", containerStatuses=[worker(state={"running": {}}, started=True, ready=True)])
    assert cause(replace(observed(starting, ready), load=ModelLoad(workers=2)), QUEUE) is None
    assert cause(replace(observed(starting, ready), load=ModelLoad(workers=1)), QUEUE).reason == "QueueUnreachable"


def test_without_a_startup_probe_nobody_knows_whether_an_engine_has_started():
    loading = worker(state={"running": {}}, started=True)
    again = worker(state={"running": {}}, lastState={"terminated": {"exitCode": 1, "message": CRASH}}, started=True)
    bare = {"containers": [{"name": "worker"}]}
    assert reason(pod(phase="Running", containerStatuses=[loading]), spec=bare) is None
    assert reason(pod(phase="Running", containerStatuses=[again]), spec=bare) == "GpuCommunicationFailed"


def test_a_failed_pull_and_the_pause_after_it_are_told_in_the_same_words():
    cause_of_it = 'failed to pull and unpack image "a:1": failed to resolve reference "a:1": a:1: not found'
    tried = waiting("ErrImagePull", f"rpc error: code = NotFound desc = {cause_of_it}")
    paused = waiting("ImagePullBackOff", f'Back-off pulling image "a:1": ErrImagePull: {cause_of_it}')
    assert cause(observed(tried)) == cause(observed(paused))


def test_the_gravest_of_several_pods_is_told_whatever_their_order():
    starving = unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert reason(starving, ended(CRASH)) == reason(ended(CRASH), starving) == "GpuCommunicationFailed"


def test_only_the_present_template_counts():
    old = ended(CRASH)
    old["metadata"]["annotations"] = {"headrace.dev/revision": "one"}
    assert reason(old, annotations={"headrace.dev/revision": "one"}) == "GpuCommunicationFailed"
    assert reason(old, annotations={"headrace.dev/revision": "two"}) is None
    assert reason(old, status={"observedGeneration": 1}) is None


def test_pods_that_leave_and_models_without_a_workload_have_no_cause():
    leaving = ended(CRASH)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert reason(leaving) is None
    assert cause(Observed(MODEL)) is None
    assert reason(pod(phase="Running", conditions=[], containerStatuses=[worker(state={"running": {}})])) is None


def test_a_worker_that_starts_for_too_long():
    late = {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}
    creating = waiting("ContainerCreating", "")
    found = cause(observed(creating, status=late))
    assert (found.reason, found.permanent) == (TIMED, False)
    assert "its container: ContainerCreating" in found.message
    assert reason(creating) is None
    assert reason(ended(CRASH), status=late) == "GpuCommunicationFailed"


def test_a_pod_that_was_turned_away_says_less_than_one_that_lives():
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert reason(evicted, ended(CRASH)) == "GpuCommunicationFailed"
    assert reason(evicted) == "Evicted"


def test_containers_that_run_first_are_looked_at():
    state = {"waiting": {"reason": "ErrImageNeverPull", "message": "not present with pull policy of Never"}}
    found = cause(observed(pod(initContainerStatuses=[{"name": "fetch", "image": "fetch:2", "state": state}])))
    assert "image fetch:2" in found.message


READY_UNSAID = {"type": "Ready", "status": "False"}
CONTAINERS = {"type": "ContainersReady", "status": "True"}


def test_pods_that_start_end_or_wait_for_a_gate_are_not_lost():
    starting = pod(conditions=[READY_UNSAID, {**CONTAINERS, "status": "False"}])
    gated = pod(conditions=[{**READY_UNSAID, "reason": "ReadinessGatesNotReady"}, CONTAINERS])
    ending = pod(conditions=[READY_UNSAID, CONTAINERS])
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not any(lost(one) for one in (starting, gated, ending))


def test_evicted_from_a_lost_node_and_from_one_that_answers():
    target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    evicted = pod(conditions=[target, READY_UNSAID, CONTAINERS])
    evicted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert lost(evicted)
    assert reason(evicted) == "NodeLost"
    evicted["status"]["conditions"] = [target, {**READY_UNSAID, "reason": "ContainersNotReady"}]
    assert not lost(evicted)


GPU = "nvidia.com/gpu"
A100 = {"gpu": "a100"}
NODES = (
    Node("node-1", A100, {GPU: 8}),
    Node("node-2", A100, {GPU: 8}),
    Node("node-3", {"gpu": "t4"}, {GPU: 4}),
    Node("node-4", A100, {}),
)


def on(node, count, **status):
    item = pod(devices={GPU: str(count)}, **status)
    item["spec"]["nodeName"] = node
    return item


def test_free_devices_by_node_those_with_most_first():
    pods = [on("node-1", 2), on("node-1", 4), on("node-2", 1), on("node-2", 8, phase="Failed"), unscheduled("x")]
    assert free_gpus(NODES, used(pods), GPU) == [
        Devices("node-2", 8, 1),
        Devices("node-3", 4, 0),
        Devices("node-1", 8, 6),
    ]
    assert free_gpus(NODES, used(pods), "amd.com/gpu") == []


def test_what_a_pod_asks_for():
    limits = {"cpu": "4", "memory": "1Gi", GPU: "2", "example.com/none": "0", "requests.kubernetes.io/x": "1"}
    item = pod(devices=limits)
    item["spec"]["containers"].append(copy.deepcopy(item["spec"]["containers"][0]))
    assert asked(item) == {GPU: 4}


def test_too_few_gpus_name_nodes_that_would_do():
    message = (
        "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 3 Insufficient nvidia.com/gpu."
    )
    seen = Capacity(NODES, used([on("node-1", 6), on("node-2", 1)]))
    found = cause(observed(unscheduled(message, devices={GPU: "8"}), capacity=seen))
    assert found.reason == "NotEnoughGpus"
    assert "nvidia.com/gpu not used by Headrace: node-2 7 of 8, node-1 2 of 8." in found.message
    assert "node-3" not in found.message
    none = cause(observed(unscheduled(message, devices={"amd.com/gpu": "8"}), capacity=seen))
    assert "no node that matches has amd.com/gpu" in none.message


TAINTED = (
    "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s). "
    "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)
KEPT = ("kept", "others", "NoSchedule")
NOT_READY = ("node.kubernetes.io/not-ready", "", "NoExecute")


def tainted(*taints, labels=A100):
    return Capacity((Node("node-9", labels, taints=taints), Node("node-8", {"gpu": "h100"}, taints=(KEPT,))))


def test_a_taint_is_the_cause_only_on_nodes_that_would_do_and_by_its_name():
    waits = unscheduled(TAINTED)
    assert reason(waits) == "UntoleratedTaint"
    found = cause(observed(waits, capacity=tainted(KEPT, NOT_READY)))
    assert found.reason == "UntoleratedTaint"
    assert found.message.endswith("match: kept=others:NoSchedule, node.kubernetes.io/not-ready:NoExecute")
    assert reason(waits, capacity=tainted(KEPT, labels={"gpu": "t4"})) == "NoNodeMatches"
    assert reason(waits, capacity=tainted(NOT_READY)) == "NodesNotReady"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "kept", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "kept", "value": "others"}, True),
        ({"key": "kept", "value": "mine"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "kept", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration, tolerated):
    template = {"nodeSelector": A100, "tolerations": [toleration]}
    assert (taints(of_pod(pod(), template, tainted(KEPT))) == []) is tolerated


@pytest.mark.parametrize(
    ("operator", "key", "values", "fits"),
    [
        ("In", "gpu", ["t4", "a100"], True),
        ("In", "gpu", ["t4"], False),
        ("NotIn", "gpu", ["t4"], True),
        ("NotIn", "absent", ["t4"], True),
        ("Exists", "gpu", None, True),
        ("Exists", "absent", None, False),
        ("DoesNotExist", "absent", None, True),
        ("Gt", "memory", ["40"], True),
        ("Gt", "memory", ["80"], False),
        ("Lt", "memory", ["81"], True),
        ("Lt", "absent", ["81"], False),
        ("Later", "gpu", ["a100"], False),
    ],
)
def test_required_affinity(operator, key, values, fits):
    node = Node("node-1", {"gpu": "a100", "memory": "80"})
    term = {"matchExpressions": [{"key": key, "operator": operator, **({"values": values} if values else {})}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}, term]}}
    assert matches(node, {"affinity": {"nodeAffinity": required}}) is fits
    assert not matches(node, {"affinity": {"nodeAffinity": required}, "nodeSelector": {"gpu": "t4"}})
