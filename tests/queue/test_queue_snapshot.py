"""What people and metrics get to see of what waits and who works."""

import pytest
from prometheus_client import CollectorRegistry
from virtual_queue import VirtualQueue

from headrace_api.load import Starting
from headrace_queue import snapshot
from headrace_queue.exchange import End
from headrace_queue.metrics import OutlookCollector
from headrace_queue.needs import offers


def test_what_waits_is_told_in_the_order_in_which_it_is_served() -> None:
    queue = VirtualQueue("m", "n")
    for number in range(3):
        queue.ask(f"many {number}", key="many")
    queue.ask("one", key="one", needs=offers(["lab"], []))
    queue.ask("urgent", key="many", priority=9)
    queue.ask("other", model="n")
    views = list(snapshot.waiting(queue.dispatcher))
    assert [(one.request_id, one.position) for one in views if one.model == "m"] == [
        ("urgent", 0),
        ("one", 1),
        ("many 0", 2),
        ("many 1", 3),
        ("many 2", 4),
    ]
    assert [one.position for one in views] == [0, 0, 1, 2, 3, 4]
    assert {one.request_id: one.needs for one in views}["one"] == ("tag lab",)
    assert all(one.eta_s is None for one in views), "nothing is known yet"


def test_what_waits_is_told_when_it_will_be_begun() -> None:
    queue = VirtualQueue()
    worker = queue.worker("m", credit=1)
    for number in range(60):
        queue.ask(str(number))
    for _ in range(50):
        queue.clock.pass_(2)
        worker.finish(next(iter(worker.jobs)))
        worker.grant()
    etas = [one.eta_s for one in snapshot.waiting(queue.dispatcher)]
    assert etas == [pytest.approx(2 * (place + 1), rel=0.25) for place in range(9)]


def test_workers_are_told_with_their_load_and_how_they_do() -> None:
    queue = VirtualQueue()
    queue.worker("m", name="good", credit=2, offers=offers(["lab"], []))
    bad = queue.worker("m", name="bad", credit=9)
    queue.worker("m", name="late", starting=Starting(state="fetching", detail="weights"))
    queue.worker(memory_mb=8000).grant()
    for number in range(3):
        queue.ask(str(number))
        bad.finish(next(iter(bad.jobs)), End(500))
    queue.ask("x")
    queue.ask("y", model="free")
    good, bad_, late, generalist = snapshot.workers(queue.dispatcher)
    assert (good.name, good.state, good.running, good.credits, good.offers) == ("good", "ready", 1, 1, ("tag lab",))
    assert (bad_.failures, bad_.resting) == (3, True)
    assert (late.state, late.detail) == ("fetching", "weights")
    assert (generalist.models, generalist.loaded, generalist.running) == (None, "free", 1)


def test_metrics_say_how_long_requests_will_wait_and_who_rests() -> None:
    queue, registry = VirtualQueue("m"), CollectorRegistry()
    registry.register(OutlookCollector(queue.dispatcher, lambda model: model))
    worker, other = queue.worker("m", credit=1), queue.worker("m", credit=9)
    for number in range(3):
        queue.ask(str(number))
        other.finish(next(iter(other.jobs)), End(500))
    assert registry.get_sample_value("headrace_queue_resting_workers", {"model": "m"}) == 1
    assert registry.get_sample_value("headrace_queue_expected_wait_seconds", {"model": "m"}) is None
    for number in range(6):
        queue.ask(str(number))
    expected = registry.get_sample_value("headrace_queue_expected_wait_seconds", {"model": "m"})
    last = list(snapshot.waiting(queue.dispatcher))[-1].eta_s
    assert worker.jobs
    assert expected == last


def test_one_that_waits_is_told_its_time_from_places_that_are_hardly_older() -> None:
    queue = VirtualQueue()
    worker = queue.worker("m", credit=1)
    asked = [queue.ask(str(number)) for number in range(30)]
    for _ in range(20):
        queue.clock.pass_(2)
        worker.finish(next(iter(worker.jobs)))
        worker.grant()
    assert queue.dispatcher.eta(asked[-1]) == pytest.approx(18, rel=0.25)
    for _ in range(8):
        queue.clock.pass_(2)
        worker.finish(next(iter(worker.jobs)))
        worker.grant()
    assert queue.dispatcher.eta(asked[-1]) == pytest.approx(2, rel=0.5)
    worker.grant()
    assert not queue.dispatcher.waiting_room._places
