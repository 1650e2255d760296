"""What a candidate does about a Lease: the pure part, and the candidate with a Lease and a clock of the test's."""

import asyncio
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from headrace_operator.election.candidate import Candidate
from headrace_operator.election.decision import Seen, Step, look, released, step, taken
from headrace_operator.election.leadership import Leadership
from headrace_operator.settings import LeaseSettings

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def lease(holder="other", renewed=0, **spec):
    return {"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": str(renewed), **spec}}


def test_a_lease_counts_from_when_its_change_was_seen():
    first = look(None, lease(renewed=1), 100.0, 15)
    again = look(first, lease(renewed=1), 110.0, 15)
    assert step(again, "me", 114.9, leading=False) is Step.WAIT
    assert step(again, "me", 115.0, leading=False) is Step.TAKE
    renewed = look(again, lease(renewed=2), 114.0, 15)
    assert step(renewed, "me", 128.9, leading=False) is Step.WAIT
    assert look(None, lease(leaseDurationSeconds=40), 0.0, 15).taken_until == 40.0


def test_a_lease_that_was_given_back_is_taken_at_once():
    seen = look(look(None, lease(), 0.0, 15), {"spec": released(Seen(lease(), 0))}, 1.0, 15)
    assert step(seen, "me", 1.0, leading=False) is Step.TAKE


def test_ones_own_lease_is_renewed_at_any_time():
    assert step(look(None, lease("me"), 0.0, 15), "me", 0.0, leading=True) is Step.TAKE


def test_a_missing_lease_is_made_by_its_holder_at_once_and_by_others_after_its_duration():
    mine = look(look(None, lease("me"), 0.0, 15), None, 1.0, 15)
    assert step(mine, "me", 1.0, leading=True) is Step.CREATE
    for before in (
        None,
        look(None, lease(), 0.0, 15),
        look(None, lease("me"), 0.0, 15),
        look(None, lease(""), 0.0, 15),
    ):
        seen = look(look(before, None, 1.0, 15), None, 9.0, 15)
        assert step(seen, "me", 15.9, leading=False) is Step.WAIT
        assert step(seen, "me", 16.0, leading=False) is Step.CREATE


def test_what_is_written():
    first = taken(Seen(None, 0), "me", 15, NOW)
    assert first["leaseTransitions"] == 0
    assert first["acquireTime"] == first["renewTime"] == "2026-01-02T03:04:05.000678Z"
    later = taken(Seen({"spec": first}, 0), "me", 15, NOW.replace(second=9))
    assert (later["acquireTime"], later["leaseTransitions"]) == (first["acquireTime"], 0)
    assert later["renewTime"] > first["renewTime"]
    other = taken(Seen({"spec": {**later, "strategy": "x"}}, 0), "other", 15, NOW.replace(second=30))
    assert (other["leaseTransitions"], other["strategy"]) == (1, "x")
    assert other["acquireTime"] > later["acquireTime"]
    assert "holderIdentity" not in released(Seen({"spec": other}, 0))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class MemoryLease:
    """A Lease that can be away, hang, or lose the answer to a write that it took."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.failure = None
        self.forget_answer = False

    async def get(self):
        self._fail()
        return self.lease

    async def create(self, spec):
        self._fail()
        return None if self.lease else self._store({}, spec)

    async def replace(self, read, spec):
        self._fail()
        if not self.lease or read["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            return None
        return self._store(read, spec)

    def _store(self, read, spec):
        self.version += 1
        self.lease = {**read, "metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        if self.forget_answer:
            raise TimeoutError
        return self.lease

    def _fail(self):
        if self.failure:
            raise self.failure


class Setup:
    def __init__(self):
        self.clock = Clock()
        self.store = MemoryLease()

    def candidate(self, name):
        leadership = Leadership(self.clock)
        settings = LeaseSettings(name="l", namespace="n", identity=name)
        return Candidate(self.store, leadership, settings, CollectorRegistry(), self.clock), leadership

    async def turn(self, candidate):
        return await candidate._turn()


@pytest.fixture
def setup():
    made = Setup()
    made.store.lease = {"metadata": {"resourceVersion": "0"}, "spec": {}}
    return made


async def test_a_second_candidate_waits_until_the_first_is_not_heard_of(setup):
    (a, leads_a), (b, leads_b) = setup.candidate("a"), setup.candidate("b")
    assert await setup.turn(a) == 2.0
    for _ in range(30):
        await setup.turn(b)
        await setup.turn(a)
        assert (leads_a.may_write(), leads_b.may_write()) == (True, False)
        setup.clock.now += 1
    for _ in range(40):
        setup.clock.now += 1
        await setup.turn(b)
        assert not (leads_a.may_write() and leads_b.may_write())
        if leads_b.may_write():
            break
    assert 13 <= setup.clock.now - 1030 <= 16
    await setup.turn(a)
    assert not leads_a.may_write()


async def test_time_counts_from_before_the_request_and_an_answer_that_is_lost_does_not_count(setup):
    a, leads = setup.candidate("a")
    await setup.turn(a)
    setup.clock.now += 9
    setup.store.forget_answer = True
    with pytest.raises(TimeoutError):
        await setup.turn(a)
    a._known = False
    setup.clock.now += 1
    assert not leads.may_write()
    setup.store.forget_answer = False
    await setup.turn(a)
    assert leads.may_write()


async def test_a_lease_that_somebody_else_holds_ends_the_leading_at_once(setup):
    a, leads = setup.candidate("a")
    await setup.turn(a)
    setup.store._store({}, lease("b")["spec"])
    assert await setup.turn(a) == 0.0, "the write crossed another one: look again"
    assert leads.may_write(), "until it has looked it only knows that somebody wrote"
    await setup.turn(a)
    assert not leads.may_write()


async def test_a_deleted_lease_is_made_anew_by_its_holder(setup):
    (a, leads_a), (b, leads_b) = setup.candidate("a"), setup.candidate("b")
    await setup.turn(a)
    await setup.turn(b)
    setup.store.lease = None
    await setup.turn(b)
    await setup.turn(a)
    await setup.turn(a)
    assert leads_a.may_write()
    assert not leads_b.may_write()
    assert setup.store.lease["spec"]["holderIdentity"] == "a"


async def test_release_gives_it_back_also_when_a_renewal_was_cut_off(setup):
    a, leads = setup.candidate("a")
    await setup.turn(a)
    setup.store.forget_answer = True
    with pytest.raises(TimeoutError):
        await setup.turn(a)
    setup.store.forget_answer = False
    await a.release()
    assert not leads.may_write()
    assert "holderIdentity" not in setup.store.lease["spec"]
    version = setup.store.version
    await a.release()
    assert setup.store.version == version, "what is not held is not given back"


@pytest.mark.slow
async def test_run_outlives_every_failure_and_stops_when_cancelled(setup):
    a, leads = setup.candidate("a")
    setup.store.failure = OSError("away")
    running = asyncio.create_task(a.run())
    await asyncio.sleep(0.1)
    assert not leads.may_write()
    setup.store.failure = None
    async with asyncio.timeout(5):
        while not leads.may_write():
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_work_runs_only_while_leading():
    clock = Clock()
    leadership = Leadership(clock)
    log = []

    async def work():
        log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    running = asyncio.create_task(leadership.while_leading(work))
    await asyncio.sleep(0.01)
    assert log == []
    leadership.hold_until(clock() + 0.2)
    await asyncio.sleep(0.01)
    leadership.hold_until(clock() + 0.3)
    await asyncio.sleep(0.01)
    assert log == ["begun"]
    clock.now += 1  # as after a pause: the loop's own timers ran out, too
    leadership.hold_until(clock.now - 0.7)
    await asyncio.sleep(0.01)
    assert log == ["begun", "ended"]
    leadership.hold_until(float("inf"))
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert log == ["begun", "ended"] * 2


async def test_the_leading_ends_by_its_own_timer():
    leadership = Leadership()
    leadership.hold_until(leadership._clock() + 0.05)
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(leadership.while_leading(work))
    await asyncio.wait_for(ended.wait(), 5)
    assert not leadership.may_write()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_work_that_ends_by_itself_is_not_started_again():
    leadership = Leadership()
    leadership.hold_until(float("inf"))

    async def work():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await leadership.while_leading(work)
