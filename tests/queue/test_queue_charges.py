"""What a request is held against its key for, whatever its worker says, and however it ends."""

import pytest
from queue_setup import chunk
from virtual_queue import VirtualQueue, VirtualWorker

from headrace_api.wire import Usage
from headrace_queue.conduct import credible
from headrace_queue.exchange import End, Exchange

MOST = 2**31 - 1
RAW = b"x" * 100


def ask_all(queue: VirtualQueue, number: int = 100, *, stream: bool = False) -> dict[str, Exchange]:
    """As many of each of two keys, one after the other."""
    return {
        f"{key}{each}": queue.ask(f"{key}{each}", raw=RAW, key=key, stream=stream)
        for each in range(number)
        for key in ("a", "b")
    }


def take(worker: VirtualWorker) -> tuple[int, str]:
    """The next job, and its request."""
    worker.grant()
    [job] = [job for job in worker.jobs if job not in worker.cancelled]
    return job, worker.jobs[job].request_id


@pytest.mark.parametrize("lie", [Usage(prompt_tokens=MOST), Usage(completion_tokens=MOST)])
def test_a_workers_lie_harms_no_key(lie: Usage) -> None:
    queue = VirtualQueue("m")
    worker, asked = queue.worker("m", name="w"), ask_all(queue)
    job, first = take(worker)
    worker.finish(job, End(200, {"choices": []}, lie))
    served = {"a": 0, "b": 0}
    for _ in range(40):
        job, request = take(worker)
        served[request[0]] += 1
        worker.finish(job, End(200, {}, Usage(prompt_tokens=25, completion_tokens=1)))
    assert min(served.values()) >= 15, served
    end = asked[first].end
    assert end is not None
    assert end.usage is not None
    assert end.usage.prompt_tokens + end.usage.completion_tokens <= 2 * len(RAW), "what its key's limits are told"
    assert [row.doubt for row in queue.ledger.rows if row.request_id == first] == ["corrected"]


def test_what_can_be_is_believed() -> None:
    images = Usage(prompt_tokens=150_000, cached_tokens=100, completion_tokens=7)
    assert credible(images, 100, 7) == images
    assert credible(images, 100, 6) == Usage(100, 100, 6, 106)
    assert credible(Usage(prompt_tokens=5, cached_tokens=6), 100, 100) == Usage(5, 5, 0, 5)


@pytest.mark.parametrize("told", [Usage(25, 0, 400, 425), None], ids=["told", "seen"])
@pytest.mark.parametrize("ending", ["leaves", "does not read"])
def test_who_ends_before_the_end_is_charged_for_what_was_said(ending: str, told: Usage | None) -> None:
    queue = VirtualQueue("m", client_buffer_bytes=200_000)
    worker, exchanges = queue.worker("m"), ask_all(queue, 400, stream=True)
    served = {"a": 0, "b": 0}
    for _ in range(200):
        job, request = take(worker)
        exchange, key = exchanges[request], request[0]
        served[key] += 1
        worker.piece(job, b"".join(chunk("word") for _ in range(400 if key == "a" else 10)))
        exchange.take()
        if key == "b":
            worker.finish(job, End(200, None, Usage(prompt_tokens=25, completion_tokens=10)))
            continue
        if ending == "leaves":
            queue.dispatcher.leave(exchange)
        else:
            worker.piece(job, b"x" * 300_000)
        assert exchange.over
        worker.finish(job, End(499, None, told))
    assert served["b"] > 8 * served["a"], served
    assert queue.schedule.running == 0


def test_what_a_worker_said_before_it_was_lost_is_charged_to_who_had_left() -> None:
    queue = VirtualQueue("m")
    worker = queue.worker("m")
    first, *others = (queue.ask(f"a{each}", raw=RAW, key="a", stream=True) for each in range(3))
    queue.ask("b", raw=RAW, key="b", stream=True)
    job, _ = take(worker)
    worker.piece(job, b"".join(chunk("word") for _ in range(5000)))
    first.take()
    queue.dispatcher.leave(first)
    worker.die()
    counters = {flow.key: flow.counter for flow in queue.schedule._demands.models["m"].shares._flows.values()}
    assert counters["a"] > 10_000 > counters["b"]
    assert not any(exchange.over for exchange in others)
