"""Which revision runs, after edits, failures, upgrades and approvals."""

import copy
from datetime import timedelta

import pytest
from tests.reconcile.rollout_fleet import NOON, Fleet, ready, revisions


@pytest.fixture
def fleet():
    made = Fleet()
    made.settle()
    assert len(ready(made.pods)) == 2
    return made


def test_a_new_model_runs_what_it_renders_to(fleet):
    assert revisions(fleet.pods) == {fleet.rollout["revision"]} == {fleet.rollout["readyRevision"]}
    assert fleet.rollout["failedRevision"] is None
    assert fleet.condition("UpToDate")["status"] == "True"
    assert fleet.plan().apply == ()


@pytest.mark.parametrize(("strategy", "least"), [("Surge", 2), ("Replace", 1)])
def test_an_edit_replaces_the_workers_one_by_one(fleet, strategy, least):
    old = fleet.rollout["revision"]
    fleet.edit(rollout={"strategy": strategy})
    fleet.model["spec"]["engine"]["maxTotalTokens"] = 64
    fleet.operate()
    fleet.control()
    assert fleet.least_ready == least
    fleet.operate()
    assert revisions(fleet.pods) == {fleet.rollout["readyRevision"]} != {old}
    assert f"m-{old}" not in fleet.config_maps


def test_rapid_edits_settle_on_the_last_one(fleet):
    for tokens in (64, 65, 66):
        fleet.model["spec"]["engine"]["maxTotalTokens"] = tokens
        fleet.operate()
    fleet.settle()
    (config_map,) = fleet.config_maps
    assert "max_total_tokens = 66" in fleet.children["ConfigMap", config_map]["data"]["worker_config.toml"]
    assert len(ready(fleet.pods)) == 2


def test_what_does_not_reach_the_workers_replaces_none(fleet):
    before = fleet.names
    fleet.edit(replicas=3)
    fleet.edit(rollout={"strategy": "Replace", "progressDeadlineSeconds": 60}, ray={"dialect": "ray-serve-llm"})
    assert fleet.names[:2] == before
    (config_map,) = fleet.config_maps
    assert "num_replicas: 3" in fleet.children["ConfigMap", config_map]["data"]["model.yaml"]


@pytest.mark.parametrize("policy", ["Stop", "RollBack"])
@pytest.mark.parametrize("strategy", ["Surge", "Replace"])
def test_a_revision_that_never_becomes_ready_is_taken_away_and_reported(fleet, strategy, policy):
    fleet.edit(rollout={"strategy": strategy, "onFailure": policy})
    old = fleet.rollout["revision"]
    fleet.break_it()
    assert fleet.condition("Ready")["reason"] == "Progressing"
    fleet.settle(late=True)
    assert revisions(fleet.pods) == {old}
    assert len(ready(fleet.pods)) == 2
    assert (fleet.rollout["revision"], fleet.rollout["readyRevision"]) == (old, old)
    assert fleet.rollout["failedRevision"] not in {old, None}
    assert [fleet.condition(kind)["status"] for kind in ("Ready", "Stalled", "Reconciling", "WorkersReady")] == [
        *("False", "True", "False", "True")
    ]
    assert fleet.condition("Stalled")["reason"] == "RolloutFailed"
    assert "had no further ready worker for 1800 s" in fleet.condition("Stalled")["message"]


def test_a_failed_revision_is_not_tried_again_until_something_else_is_asked_for(fleet):
    fleet.break_it()
    fleet.settle(late=True)
    failed = fleet.rollout["failedRevision"]
    for replicas in (3, 1, 2):
        fleet.edit(replicas=replicas)
        fleet.settle(late=True)
        assert len(fleet.pods) == len(ready(fleet.pods)) == replicas
        assert failed not in revisions(fleet.pods)
    fleet.edit(rollout={"progressDeadlineSeconds": 3600})
    assert failed in revisions(fleet.pods)
    assert fleet.rollout["failedRevision"] is None
    fleet.settle(late=True)
    assert failed not in revisions(fleet.pods)
    fleet.mend_it()
    assert fleet.condition("Ready")["status"] == "True"
    assert fleet.rollout["failedRevision"] is None
    assert "headrace.dev/failed-rollout" not in fleet.deployment["metadata"]["annotations"]


def test_the_cause_of_a_failure_is_told_after_its_workers_are_gone(fleet):
    fleet.break_it()
    terminated = {"exitCode": 1, "message": "CUDA out of memory"}
    for pod in fleet.pods:
        if pod not in ready(fleet.pods):
            state = {"name": "worker", "restartCount": 5, "state": {"terminated": terminated}}
            pod["status"]["containerStatuses"] = [state]
    fleet.settle(late=True)
    assert len(ready(fleet.pods)) == len(fleet.pods) == 2
    assert "CUDA out of memory" in fleet.condition("Stalled")["message"]


def test_a_first_revision_that_fails_goes_on_trying_for_there_is_nothing_to_lose():
    fleet = Fleet()
    fleet.break_it()
    fleet.settle(late=True)
    assert len(fleet.pods) == 2
    assert fleet.condition("Stalled")["reason"] == "RolloutFailed"
    failed = fleet.rollout["failedRevision"]
    for pod in fleet.pods:  # what was missing has come
        pod["status"]["conditions"][0]["status"] = "True"
    fleet.settle()
    assert fleet.condition("Ready")["status"] == "True"
    assert (fleet.rollout["failedRevision"], fleet.rollout["readyRevision"]) == (None, failed)


def half_failed(fleet, policy):
    """Two of the new workers become ready, then no more."""
    fleet.edit(replicas=4, rollout={"onFailure": policy})
    fleet.model["spec"]["engine"]["maxTotalTokens"] = 64
    fleet.operate()
    deployment = fleet.deployment
    for _ in range(2 * 2):  # one begins, one ends, twice
        fleet._step(deployment["spec"])
    fleet._begin(deployment["spec"]["template"])
    fleet.pods[-1]["status"]["conditions"][0]["status"] = "False"
    fleet._report(deployment, late=True)
    fleet.operate()


def test_a_rollout_that_fails_half_way_stays_there_or_goes_back(fleet):
    old = fleet.rollout["revision"]
    other = copy.deepcopy(fleet)
    half_failed(fleet, "Stop")
    assert fleet.deployment["spec"]["paused"]
    fleet.control()
    assert len(ready(fleet.pods)) == 4
    half_failed(other, "RollBack")
    other.settle()
    assert revisions(other.pods) == {old}
    assert len(ready(other.pods)) == 4
    # saying afterwards that it shall go back is enough
    fleet.edit(rollout={"onFailure": "RollBack"})
    assert revisions(fleet.pods) == {old}
    assert not fleet.deployment["spec"]["paused"]


def test_where_nothing_older_serves_stop_leaves_the_failed_revision_and_roll_back_does_not(fleet):
    old = fleet.rollout["revision"]
    fleet.edit(replicas=1, rollout={"strategy": "Replace"})
    fleet.break_it()
    fleet.settle(late=True)
    assert revisions(fleet.pods) == {fleet.rollout["failedRevision"]}
    fleet.edit(rollout={"strategy": "Replace", "onFailure": "RollBack"})
    assert revisions(fleet.pods) == {old}
    assert len(ready(fleet.pods)) == 1
    assert fleet.condition("Stalled")["reason"] == "RolloutFailed"


def test_older_workers_that_stumble_do_not_bring_the_failed_revision_back(fleet):
    old = fleet.rollout["revision"]
    fleet.break_it()
    fleet.settle(late=True)
    for pod in fleet.pods:
        pod["status"]["conditions"][0]["status"] = "False"
    fleet.settle()
    assert revisions(fleet.pods) == {old}


def delete_the_workload(fleet):
    del fleet.children["Deployment", "m"]
    fleet.pods = []
    fleet.settle()


def switch_off_and_on(fleet):
    fleet.edit(enabled=False)
    assert fleet.pods == []
    assert fleet.condition("Ready")["reason"] == "Disabled"
    fleet.edit(enabled=True)


@pytest.mark.parametrize("policy", ["Stop", "RollBack"])
@pytest.mark.parametrize("interrupt", [delete_the_workload, switch_off_and_on])
def test_a_failure_outlives_the_workload_that_it_is_noted_on(fleet, interrupt, policy):
    old = fleet.rollout["revision"]
    fleet.edit(rollout={"onFailure": policy})
    fleet.break_it()
    fleet.settle(late=True)
    before = fleet.rollout
    for _ in range(2):
        interrupt(fleet)
        assert revisions(fleet.pods) == {old}
        assert len(ready(fleet.pods)) == 2
        assert fleet.rollout == before
        assert fleet.condition("Stalled")["reason"] == "RolloutFailed"
    fleet.settle(late=True)
    assert fleet.rollout == before
    fleet.edit(rollout={"progressDeadlineSeconds": 3600})
    assert before["failedRevision"] in revisions(fleet.pods)


def test_a_deleted_workload_loses_no_cause(fleet):
    fleet.break_it()
    fleet.settle(late=True)
    told = fleet.condition("Stalled")["message"]
    delete_the_workload(fleet)
    assert fleet.condition("Stalled")["message"] == told


def test_what_is_asked_for_while_nothing_runs_is_a_new_try(fleet):
    fleet.break_it()
    fleet.settle(late=True)
    fleet.edit(enabled=False)
    fleet.mend_it()
    fleet.edit(enabled=True)
    assert fleet.condition("Ready")["status"] == "True"
    assert fleet.rollout["failedRevision"] is None


def test_what_was_rolled_back_to_is_kept_through_an_upgrade_and_no_workers(fleet):
    old = fleet.rollout["revision"]
    fleet.break_it()
    fleet.settle(late=True)
    fleet.upgrade("2")
    pending = fleet.pending["revision"]
    for replicas in (0, 2):
        fleet.edit(replicas=replicas)
        assert fleet.rollout["revision"] == old
    assert revisions(fleet.pods) == {old}
    fleet.approve(pending)
    assert pending in revisions(fleet.pods)


def test_a_rollout_stopped_half_way_stays_there_while_the_queue_is_away(fleet):
    half_failed(fleet, "Stop")
    before = fleet.names
    was_ready = ready(fleet.pods)
    for pod in was_ready:
        pod["status"]["conditions"][0]["status"] = "False"
    fleet.operate()
    assert fleet.deployment["spec"]["paused"]
    was_ready[0]["status"]["conditions"][0]["status"] = "True"  # an older one comes back first
    fleet.operate()
    assert fleet.deployment["spec"]["paused"]
    assert fleet.names == before


def test_a_rollout_stopped_half_way_goes_on_when_the_older_workers_are_gone(fleet):
    half_failed(fleet, "Stop")
    failed = fleet.rollout["failedRevision"]
    for pod in fleet.pods:
        if revisions([pod]) != {failed}:
            pod["status"] = {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]}  # evicted
    fleet.operate()
    assert not fleet.deployment["spec"]["paused"]


def test_an_upgrade_of_the_operator_waits_for_approval(fleet):
    before, old = fleet.names, fleet.rollout["revision"]
    fleet.upgrade("2")
    assert fleet.names == before
    assert fleet.condition("Ready")["status"] == "True"
    up_to_date = fleet.condition("UpToDate")
    assert (up_to_date["status"], up_to_date["reason"]) == ("False", "PendingRender")
    assert fleet.pending["changes"] == ["pod: spec.containers[worker].image"]
    assert f"headrace.dev/approve-render={fleet.pending['revision']}" in up_to_date["message"]
    assert fleet.config_maps == {f"m-{old}", f"m-{fleet.pending['revision']}"}
    fleet.approve("something else")
    assert fleet.names == before
    fleet.approve(fleet.pending["revision"])
    assert fleet.pending is None
    assert set(fleet.names).isdisjoint(before)
    assert fleet.condition("UpToDate")["status"] == "True"
    assert len(fleet.config_maps) == 1


def hashes(fleet):
    return fleet.model["status"]["fingerprint"], fleet.model["status"]["configHash"]


def test_the_hashes_in_the_status_are_not_those_of_a_rendering_that_waits(fleet):
    before = hashes(fleet)
    fleet.config = fleet.config.model_copy(update={"queue_url": "http://other.headrace.svc:8080"})
    fleet.settle()
    assert fleet.pending
    assert hashes(fleet) == before
    fleet.approve(fleet.pending["revision"])
    assert hashes(fleet)[0] == before[0], "the queue is not in the generator section"
    assert hashes(fleet)[1] != before[1]


def test_the_hashes_in_the_status_are_not_those_of_a_revision_that_failed(fleet):
    before = hashes(fleet)
    fleet.model["spec"]["engine"]["maxTotalTokens"] = 64
    fleet.break_it()
    assert not set(hashes(fleet)) & set(before)
    fleet.settle(late=True)
    assert fleet.rollout["failedRevision"]
    assert hashes(fleet) == before


def test_a_pending_rendering_is_dropped_when_the_operator_goes_back(fleet):
    before = fleet.names
    fleet.upgrade("2")
    fleet.upgrade("1")
    assert fleet.pending is None
    assert fleet.names == before
    assert len(fleet.config_maps) == 1


def test_the_authors_next_change_takes_the_pending_rendering_with_it(fleet):
    fleet.upgrade("2")
    fleet.edit(replicas=3)
    assert fleet.pending
    fleet.mend_it("other")
    assert fleet.pending is None
    assert fleet.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "e.org/i:2"


def test_what_runs_is_put_back_while_a_rendering_waits(fleet):
    fleet.upgrade("2")
    before = copy.deepcopy(fleet.children)
    fleet.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mine"
    fleet.children["ConfigMap", f"m-{fleet.rollout['revision']}"]["data"]["model.yaml"] = "mine"
    fleet.settle()
    assert fleet.deployment["spec"] == before["Deployment", "m"]["spec"]
    assert {key for key in before if fleet.children[key].get("data") != before[key].get("data")} == set()


def test_a_window_lets_the_operators_changes_through_and_its_opening_wakes_the_model(fleet):
    window = {"days": ["Wed"], "start": "14:00", "durationMinutes": 60, "timeZone": "Europe/Berlin"}  # 13:00 UTC
    fleet.edit(rollout={"maintenanceWindows": [window]})
    before = fleet.names
    waiting = fleet.upgrade("2")
    assert waiting.again_seconds == 3600
    assert fleet.names == before
    fleet.now = NOON + timedelta(seconds=waiting.again_seconds)
    assert fleet.settle().again_seconds is None
    assert set(fleet.names).isdisjoint(before)


def test_nothing_that_serves_is_nothing_to_wait_for(fleet):
    fleet.edit(replicas=0)
    fleet.upgrade("2")
    assert fleet.pending is None
    broken = Fleet()
    broken.upgrade("broken")
    broken.settle(late=True)
    assert broken.rollout["failedRevision"]
    broken.upgrade("3")
    assert len(ready(broken.pods)) == 2
    assert broken.rollout["failedRevision"] is None


def test_an_approved_rendering_that_fails_is_stopped_too(fleet):
    before = fleet.names
    fleet.upgrade("broken")
    fleet.approve(fleet.pending["revision"])
    fleet.settle(late=True)
    assert fleet.names == before
    assert fleet.rollout["failedRevision"]
    fleet.upgrade("3")
    assert fleet.names == before
    assert fleet.pending
    fleet.approve(fleet.pending["revision"])
    assert set(fleet.names).isdisjoint(before)
    assert fleet.condition("Ready")["status"] == "True"


def test_a_downgrade_after_a_failed_upgrade_is_no_failure(fleet):
    fleet.upgrade("broken")
    fleet.approve(fleet.pending["revision"])
    fleet.settle(late=True)
    fleet.upgrade("1")
    assert fleet.condition("Ready")["status"] == "True"
    assert fleet.rollout["failedRevision"] is None


def before_revisions(fleet):
    """What the release without revisions left behind: one ConfigMap, mounted by all; other defaults."""
    deployment = fleet.deployment
    revision = deployment["metadata"]["annotations"].pop("headrace.dev/revision")
    template = deployment["spec"]["template"]
    template["metadata"]["annotations"] = {"headrace.dev/config-hash": "1"}
    template["spec"]["volumes"][0]["configMap"]["name"] = "m"
    template["spec"]["dnsPolicy"] = "ClusterFirst"
    fleet.children["ConfigMap", "m"] = fleet.children.pop(("ConfigMap", f"m-{revision}"))
    fleet.children["ConfigMap", "m"]["metadata"]["name"] = "m"
    fleet.model["status"].update(rollout=None, pendingRender=None)
    fleet.pods = []
    fleet.control()
    deployment["spec"]["template"]["metadata"]["creationTimestamp"] = None  # the API server's word for none
    return fleet.names


def test_workers_of_a_release_without_revisions_are_kept(fleet):
    before = before_revisions(fleet)
    fleet.settle()
    assert fleet.names == before
    assert "m" in fleet.config_maps
    assert fleet.rollout is None
    assert fleet.condition("UpToDate")["reason"] == "PendingRender"
    assert not [one for one in fleet.pending["changes"] if "dnsPolicy" in one]
    fleet.edit(replicas=3)
    assert fleet.names[:2] == before
    fleet.approve(fleet.pending["revision"])
    assert set(fleet.names).isdisjoint(before)
    assert fleet.config_maps == {f"m-{fleet.rollout['revision']}"}


def test_workers_of_a_release_without_revisions_are_kept_while_none_is_ready(fleet):
    before = before_revisions(fleet)
    for pod in fleet.pods:  # the queue restarts in the same upgrade
        pod["status"]["conditions"][0]["status"] = "False"
    fleet.upgrade("2")
    assert fleet.names == before
    assert fleet.condition("UpToDate")["reason"] == "PendingRender"
    fleet.edit(replicas=0)
    assert not fleet.pending


def test_workers_of_a_release_without_revisions_go_with_the_next_change_of_the_spec(fleet):
    before = before_revisions(fleet)
    fleet.settle()
    fleet.mend_it("other")
    assert set(fleet.names).isdisjoint(before)
    later = Fleet()
    later.settle()
    before = before_revisions(later)
    later.model["metadata"]["generation"] += 1  # while no operator looked
    later.settle()
    assert set(later.names).isdisjoint(before)


def test_older_workers_still_reach_their_own_queue(fleet):
    fleet.edit(queue={"url": "http://other.example:7777"}, template={"spec": {"priorityClassName": "broken"}})

    def egress():
        return fleet.children["NetworkPolicy", "m"]["spec"]["egress"]

    def to_own_queue():
        return any("podSelector" in peer for rule in egress() for peer in rule.get("to", []))

    assert to_own_queue()
    assert 7777 in {port["port"] for rule in egress() for port in rule.get("ports", [])}
    fleet.mend_it()
    assert not to_own_queue()
