"""Two operators never both write, whatever happens to them; told from the API server's own log of requests.

Whose a request is, the log says by the id of the token that it carried. Each operator has a token of its own.
"""

import json
import random
import signal
import time

import pytest
from tests.election.conftest import MODELS, Operators
from tests.election.installation import LEASE_SECONDS, NAMESPACE, Installation, Stirring, until

pytestmark = pytest.mark.cluster  # the control plane's programs are built for it

READS = {"get", "list", "watch"}


def is_lease(event):
    return event["objectRef"].get("resource") == "leases"


def writes(installed, since=0):
    """The operators' writes to models and their objects."""
    return [event for event in installed.events()[since:] if event["verb"] not in READS and not is_lease(event)]


def holders(installed):
    """When the Lease changed hands, and whose it was then (None: nobody's), by the API server's clock."""
    found = []
    for event in installed.events():
        if is_lease(event) and event["verb"] not in READS and event["responseStatus"]["code"] < 300:
            held = event["requestObject"]["spec"].get("holderIdentity")
            found.append((event["stageTimestamp"], event["sender"] if held else None))
    return sorted(found)


def check_one_writer(installed):
    """Every write was sent by the operator that held the Lease when it arrived; returns how many there were."""
    changes, sent = holders(installed), writes(installed)
    for event in sent:
        before = [holder for when, holder in changes if when <= event["requestReceivedTimestamp"]]
        assert before[-1] == event["sender"], f"{event['verb']} {event['requestURI']} by one that did not lead"
    return len(sent)


def writers(installed, since):
    return {event["sender"] for event in writes(installed, since)}


def count(installed):
    return len(installed.events())


def wrote(installed, operator, since):
    return lambda: operator.sender in writers(installed, since)


def test_the_second_is_ready_and_writes_nothing(installed: Installation, operators: Operators) -> None:
    leader, standby = operators.pair()
    assert not standby.leading()
    since = count(installed)
    with Stirring(installed.plane, MODELS):
        until("the leader writes", lambda: len(writes(installed, since)) > 50)
    assert writers(installed, since) == {leader.sender}
    assert check_one_writer(installed)
    assert standby.ready()


def test_a_leader_that_ends_hands_over_without_waiting_for_the_lease(
    installed: Installation, operators: Operators
) -> None:
    leader, standby = operators.pair(lease_seconds="600", lease_renew_seconds="300")
    since = count(installed)
    with Stirring(installed.plane, MODELS):
        until("the leader writes", wrote(installed, leader, since))
        leader.signal(signal.SIGTERM)
        took = until("the other one writes", wrote(installed, standby, since), 30)
        assert leader.process.wait(30) == 0
    print(f"handover after SIGTERM: {took:.2f} s")  # noqa: T201
    check_one_writer(installed)
    standby.signal(signal.SIGTERM)
    assert standby.process.wait(30) == 0


def test_a_leader_that_is_killed_is_replaced_when_its_lease_is_over(
    installed: Installation, operators: Operators
) -> None:
    leader, standby = operators.pair()
    since = count(installed)
    with Stirring(installed.plane, MODELS):
        until("the leader writes", wrote(installed, leader, since))
        leader.signal(signal.SIGKILL)
        took = until("the other one writes", wrote(installed, standby, since))
    print(f"takeover after SIGKILL: {took:.2f} s of a Lease of {LEASE_SECONDS} s")  # noqa: T201
    check_one_writer(installed)


def test_a_leader_that_sleeps_past_its_lease_writes_nothing_when_it_wakes(
    installed: Installation, operators: Operators
) -> None:
    leader, standby = operators.pair()
    for _ in range(3):
        since = count(installed)
        with Stirring(installed.plane, MODELS):
            until("the leader writes", wrote(installed, leader, since))
            time.sleep(random.random())  # noqa: S311  # no secret
            leader.signal(signal.SIGSTOP)
            until("the other one writes", wrote(installed, standby, since))
            woken = count(installed)
            leader.signal(signal.SIGCONT)
            until("the sleeper is back", leader.ready)
            until("the other one goes on", lambda woken=woken: len(writes(installed, woken)) > 20)
        late = [event for event in writes(installed, woken) if event["sender"] != standby.sender]
        assert not late, "\n".join(map(json.dumps, late))
        assert not leader.leading()
        leader, standby = standby, leader
    check_one_writer(installed)


def test_a_lease_that_is_deleted_by_hand_is_made_anew_by_its_holder(
    installed: Installation, operators: Operators
) -> None:
    leader, _ = operators.pair(lease_seconds="15", lease_renew_seconds="10")
    since = count(installed)
    with Stirring(installed.plane, MODELS):
        for _ in range(5):
            deleted = installed.plane.get("lease", "release-operator", "-n", NAMESPACE)["metadata"]["uid"]
            installed.plane.kubectl("delete", "lease", "release-operator", "-n", NAMESPACE)

            def made_anew(deleted: str = deleted) -> bool:
                text = ("get", "lease", "release-operator", "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}")
                return installed.plane.kubectl(*text, check=False).strip() not in {"", deleted}

            until("there is a Lease again", made_anew)
    until("the leader still leads", leader.leading)
    assert writers(installed, since) == {leader.sender}
    check_one_writer(installed)


def test_both_outlive_an_api_server_that_is_away_for_longer_than_the_lease(
    installed: Installation, operators: Operators
) -> None:
    pair = operators.pair()
    with Stirring(installed.plane, MODELS):
        installed.plane.stop_api()
        until("nobody leads", lambda: not any(operator.leading() for operator in pair))
        time.sleep(LEASE_SECONDS)
        installed.plane.start_api()
        since = count(installed)
        until("somebody writes", lambda: writers(installed, since))
    assert [operator.process.poll() for operator in pair] == [None, None]
    check_one_writer(installed)
