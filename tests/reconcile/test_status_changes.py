"""What of a status is written at once."""

from headrace_operator.status_changes import can_wait, changes, patience_seconds


def condition(kind="Ready", status="False", reason="Progressing", message="0 of 2 workers are ready", generation=1):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


BEFORE = {"observedGeneration": 1, "conditions": [condition()], "replicas": 0, "workers": "0/2"}


def waits(**after):
    return can_wait(BEFORE, changes(BEFORE, {**BEFORE, **after}))


def test_numbers_and_the_words_for_them_can_wait():
    assert waits(replicas=1)
    assert waits(workers="1/2", readyReplicas=1, queued=7, running=2)
    assert waits(starting=[{"worker": "w", "state": "fetching", "doneBytes": 1}])
    assert waits(conditions=[condition(message="1 of 2 workers are ready")], workers="1/2")


def test_what_somebody_may_wait_for_is_written_at_once():
    assert not waits(conditions=[condition(status="True")])
    assert not waits(conditions=[condition(reason="Unschedulable")], replicas=1)
    assert not waits(conditions=[condition(generation=2)])
    assert not waits(conditions=[condition(), condition("UpToDate")])
    assert not waits(observedGeneration=2)
    assert not waits(scaling={"desiredReplicas": 3})


def test_a_first_status_is_written_at_once():
    assert not can_wait({}, {"replicas": 0})
    new = {"observedGeneration": -1}  # as the API server begins it
    assert not can_wait(new, changes(new, {"observedGeneration": 1, "conditions": [condition()], "replicas": 0}))


def test_what_the_api_server_does_not_store_is_no_change():
    assert changes({"replicas": 1}, {"replicas": 1, "queued": None, "scaling": None}) == {}
    stored = {"rollout": {"revision": "a"}}
    assert changes(stored, {"rollout": {"revision": "a", "failedRevision": None}}) == {}


def test_a_field_that_is_no_longer_there_is_said_with_null():
    assert changes({"queued": 3}, {"queued": None}) == {"queued": None}
    stored = {"rollout": {"revision": "a", "failedRevision": "b"}}
    assert changes(stored, {"rollout": {"revision": "a"}}) == {"rollout": {"revision": "a", "failedRevision": None}}


def test_numbers_wait_longer_while_a_condition_is_about_to_take_them_along():
    moving = {"conditions": [condition("Reconciling", "True")]}
    assert patience_seconds(moving) > patience_seconds({"conditions": [condition("Reconciling", "False")]})
