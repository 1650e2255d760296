"""Workers that are slow or fail, and requests that make them fail."""

from hypothesis import given
from hypothesis import strategies as st
from virtual_queue import VirtualQueue, VirtualWorker, error

from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.schedule.health import Health

BROKEN = End(500, {"error": {"message": "x", "type": "server_error", "param": None, "code": None}})


def answer(worker: VirtualWorker, seconds: float, queue: VirtualQueue) -> None:
    """All that it has, the first token after so long."""
    for job in list(worker.jobs):
        queue.clock.pass_(seconds)
        worker.piece(job)
        worker.finish(job)
        worker.grant()


def test_a_slow_worker_gets_less() -> None:
    queue = VirtualQueue()
    fast, slow = queue.worker("m", credit=10), queue.worker("m", credit=10)
    for number in range(100):
        queue.ask(str(number), stream=True)
        answer(fast, 0.1, queue)
        answer(slow, 5.0, queue)
    for number in range(6):
        queue.ask(str(number), stream=True)
    assert (len(fast.jobs), len(slow.jobs)) == (6, 0)
    for number in range(6, 20):
        queue.ask(str(number), stream=True)
    assert len(slow.jobs) == 10, "less is not nothing: no request waits while it has room"


def test_a_worker_that_fails_rests_and_comes_back_by_one_request() -> None:
    queue = VirtualQueue()
    good, bad = queue.worker("m", credit=1), queue.worker("m", credit=20)
    for number in range(3):
        queue.ask(str(number))
        bad.finish(next(iter(bad.jobs)), BROKEN)
    queue.ask("a"), queue.ask("b")
    assert (good.asked, bad.asked) == (["a"], []), "b waits for the one that is well"
    queue.clock.pass_(5.1)
    assert bad.asked == ["b"]
    queue.ask("c")
    assert bad.asked == ["b"], "one at a time, until it has answered"
    bad.finish(next(iter(bad.jobs)))
    bad.grant()
    assert bad.asked == ["c"]
    queue.ask("d")
    assert bad.asked == ["c", "d"]


def test_the_last_worker_never_rests() -> None:
    queue = VirtualQueue()
    bad = queue.worker("m", credit=20)
    for number in range(10):
        queue.ask(str(number))
        bad.finish(next(iter(bad.jobs)), BROKEN)
    other = queue.worker("m")
    queue.ask("x")
    bad.finish(next(iter(bad.jobs)), BROKEN)
    queue.ask("y")
    assert bad.asked == [], "now that there is another"
    other.die()
    assert bad.asked == ["y"]


@given(st.lists(st.sampled_from(["ok", "bad", "again"]), max_size=80))
def test_rests_are_bounded_and_always_end(steps: list[str]) -> None:
    health, longest = Health(), 0.0
    for step in steps:
        if step == "bad":
            seconds = health.failed(may_rest=True)
            assert seconds is None or 5 <= seconds <= 300
            assert (seconds is not None) <= health.resting
            longest = max(longest, seconds or 0)
        elif step == "ok":
            health.succeeded()
            assert health.failures == 0
        else:
            health.try_again()
            assert not health.resting
        assert not (health.resting and health.probing)


def is_poison(call: Call) -> bool:
    return call.request_id == "poison"


def crash(workers: list[VirtualWorker], *, told: bool) -> bool:
    """The engine that has the poison dies; a new one is there at once. False if none has it."""
    for worker in workers:
        if any(map(is_poison, worker.jobs.values())):
            jobs = list(worker.jobs)
            if told:
                for job in jobs:
                    worker.hand_back(job, failed=True)
                worker.grant(len(jobs))
            else:
                worker.die()
            return True
    return False


def poisoned(*, told: bool) -> None:
    queue = VirtualQueue("m")
    workers = [queue.worker("m", credit=8) for _ in range(2)]
    innocent = [queue.ask(f"early {number}") for number in range(6)]
    poison = queue.ask("poison")
    crashes = 0
    while not poison.over:
        if not crash(workers, told=told):  # it waits for one without a suspect
            for worker in workers:
                for job in list(worker.jobs):
                    worker.finish(job)
                    worker.grant()
            continue
        crashes += 1
        if not told:
            workers = [worker for worker in workers if worker.jobs or worker.number in queue.schedule.workers]
            workers += [queue.worker("m", credit=8) for _ in range(2 - len(workers))]
        innocent += [queue.ask(f"late {crashes} {number}") for number in range(3)]
        queue.clock.pass_(6)
    assert error(poison) == (502, "too_many_attempts")
    assert crashes == 3
    for _ in range(10):
        for worker in workers:
            for job in list(worker.jobs):
                worker.finish(job)
                worker.grant()
    assert [one.end.status for one in innocent if one.end] == [200] * len(innocent)


def test_a_request_that_kills_engines_takes_no_other_with_it() -> None:
    poisoned(told=True)


def test_a_request_that_kills_whole_workers_takes_no_other_with_it() -> None:
    poisoned(told=False)


def test_suspects_are_kept_apart_from_each_other() -> None:
    queue = VirtualQueue("m")
    asked = [queue.ask(str(number)) for number in range(4)]
    for _ in range(2):
        queue.worker("m", credit=4).die()
    first, second = queue.worker("m", credit=4), queue.worker("m", credit=4)
    assert (len(first.jobs), len(second.jobs)) == (1, 1)
    fresh = queue.ask("fresh")
    assert len(first.jobs) + len(second.jobs) == 3, "others go beside them"
    for _ in range(4):
        for worker in (first, second):
            for job in list(worker.jobs):
                worker.finish(job)
    assert all(one.end and one.end.status == 200 for one in [*asked, fresh])


def test_a_stream_without_a_first_token_moves() -> None:
    queue = VirtualQueue(first_token_seconds=10.0)
    stuck = queue.worker("m", credit=9)
    moves, stays = queue.ask("moves", stream=True), queue.ask("stays")
    [job] = [job for job, call in stuck.jobs.items() if call.request_id == "moves"]
    queue.clock.pass_(25)
    assert not stuck.cancelled, "there is no other worker"
    other = queue.worker("m", credit=1)
    queue.clock.pass_(10)
    assert stuck.cancelled == [job]
    assert other.asked == ["moves"]
    stuck.piece(job, b"late")
    stuck.finish(job, End(499))
    [again] = other.jobs
    other.piece(again, b"first")
    assert moves.take() == b"first"
    other.finish(again)
    assert moves.end is not None
    assert moves.end.status == 200
    assert not stays.over


def test_where_first_tokens_take_long_more_time_is_given() -> None:
    queue = VirtualQueue(first_token_seconds=10.0)
    slow = queue.worker("m", credit=9)
    queue.ask("first", stream=True)
    queue.clock.pass_(8)
    slow.piece(next(iter(slow.jobs)))
    queue.worker("m", credit=1)
    queue.ask("second", stream=True)
    queue.clock.pass_(39)
    assert not slow.cancelled
    queue.clock.pass_(11)
    assert len(slow.cancelled) == 1


def test_a_stream_that_moves_and_whose_first_worker_dies_is_not_lost() -> None:
    queue = VirtualQueue(first_token_seconds=10.0)
    stuck = queue.worker("m", credit=9)
    moves = queue.ask("moves", stream=True)
    other = queue.worker("m", credit=1)
    queue.clock.pass_(11)
    stuck.die()
    assert other.asked == ["moves"]
    assert (moves.strikes, moves.attempts) == (1, 2)
    other.finish(next(iter(other.jobs)))
    assert moves.over


def two_suspects(queue: VirtualQueue) -> tuple[Exchange, Exchange, VirtualWorker]:
    """Of two models, with one worker that could take both, were they no suspects: it has the first one."""
    first, second = queue.ask("x", model="x"), queue.ask("y", model="y")
    queue.worker("x", "y", credit=2).die()
    worker = queue.worker("x", "y", credit=2)
    assert worker.asked == ["x"]
    return first, second, worker


def test_a_suspect_whose_client_leaves_makes_room_for_one_of_another_model() -> None:
    queue = VirtualQueue(max_attempts=2)
    first, _, worker = two_suspects(queue)
    queue.dispatcher.leave(first)
    assert worker.asked == ["x", "y"]


def test_a_suspect_that_its_worker_does_not_take_makes_room_likewise() -> None:
    queue = VirtualQueue(max_attempts=2)
    _, _, worker = two_suspects(queue)
    worker.hand_back(next(iter(worker.jobs)), failed=False)
    assert worker.asked == ["y"]


def test_a_probe_that_fails_where_the_worker_may_not_rest_makes_room() -> None:
    queue = VirtualQueue()
    ill, other = queue.worker("m"), queue.worker("m")
    ill.grant(4)
    for number in range(3):
        queue.ask(f"fails {number}")
        ill.finish(next(iter(ill.jobs)), End(500))
    queue.clock.pass_(5)  # it probes, with a credit for more than that
    queue.ask("probe")
    assert ill.asked == ["probe"]
    other.die()
    ill.grant()
    queue.ask("next")
    assert ill.asked == ["probe"]
    ill.finish(next(iter(ill.jobs)), End(500))
    assert ill.asked == ["next"]
