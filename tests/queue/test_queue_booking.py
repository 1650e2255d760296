"""What the ledger has of requests whose workers' words do not come, come late, or are several."""

import json
from typing import Any

import pytest
from virtual_queue import VirtualQueue, VirtualWorker

from headrace_api.wire import Usage
from headrace_queue.exchange import End, Exchange
from headrace_queue.sse import DONE

ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True}).encode()
WITH_USAGE = ASK[:-1] + b', "stream_options": {"include_usage": true}}'
EXACT = End(200, usage=Usage(prompt_tokens=100, completion_tokens=20, total_tokens=120), gpu_seconds=3.5)


def event(**more: Any) -> bytes:
    return b"data: " + json.dumps({"id": "1", **more}).encode() + b"\n\n"


def says(finish: str | None = None, **delta: str) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def words(number: int) -> bytes:
    return b"".join(says(content=f"{word} ") for word in range(number))


def usage(prompt: int, completion: int) -> bytes:
    return event(
        choices=[],
        usage={"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    )


def begun(queue: VirtualQueue, number: int, raw: bytes = ASK) -> tuple[VirtualWorker, int, Exchange]:
    """A worker, its job, and the stream of which the client has so many words."""
    exchange = queue.ask(raw=raw, stream=True)
    worker = queue.worker("m", credit=1, name="first", continues=True)
    (job,) = worker.jobs
    worker.piece(job, words(number))
    assert exchange.take() == words(number)
    return worker, job, exchange


def continued(queue: VirtualQueue, name: str = "second") -> tuple[VirtualWorker, int]:
    worker = queue.worker("m", credit=1, name=name, continues=True)
    (job,) = worker.jobs
    assert worker.jobs[job].continues
    return worker, job


def figures(queue: VirtualQueue) -> tuple[str, str, int, int, float]:
    row = queue.ledger.row()
    return row.outcome, row.doubt, row.prompt_tokens, row.completion_tokens, row.gpu_seconds


# ---- a worker's late word


def test_the_engines_count_replaces_an_estimate_when_the_link_is_back() -> None:
    queue = VirtualQueue("m", max_attempts=1)
    worker, job, _ = begun(queue, 3)
    receipt = worker.receipts[job]
    worker.die()
    assert figures(queue) == ("partial", "estimated", 0, 3, 0.0)
    again = queue.worker("m", name="first", continues=True)
    again.tell_again(job, "r", EXACT, receipt)
    assert again.acknowledged == ["r"]
    assert figures(queue) == ("partial", "", 100, 20, 3.5)


def test_the_engines_count_replaces_that_of_a_stream_that_its_client_has_whole() -> None:
    queue = VirtualQueue("m")
    worker, job, _ = begun(queue, 3)
    worker.piece(job, says("stop") + DONE)
    receipt = worker.receipts[job]
    worker.die()
    queue.worker("m", name="first").tell_again(job, "r", EXACT, receipt)
    assert figures(queue) == ("completed", "", 100, 20, 3.5)


@pytest.mark.parametrize("how", ["held too long", "the client leaves"])
def test_a_word_that_comes_while_the_request_waits_for_another_worker_is_not_lost(how: str) -> None:
    queue = VirtualQueue("m", hold_seconds=5)
    worker, job, exchange = begun(queue, 3)
    receipt = worker.receipts[job]
    worker.die()
    again = queue.worker("m", name="first", continues=True)
    again.tell_again(job, "r", EXACT, receipt)
    assert again.acknowledged == [], "there is no row yet"
    if how == "the client leaves":
        queue.dispatcher.leave(exchange)
    queue.clock.pass_(10)
    assert again.acknowledged == ["r"]
    assert figures(queue)[1:] == ("", 100, 20, 3.5)


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("when", ["before the next worker has it", "before the end", "after the end"])
def test_a_late_word_for_a_part_does_not_replace_the_sum(name: str, when: str) -> None:
    queue = VirtualQueue("m")
    worker, job, exchange = begun(queue, 3)
    receipt = worker.receipts[job]
    worker.die()
    again = queue.worker("m", name="first", continues=True)
    if when == "before the next worker has it":
        again.tell_again(job, "r", EXACT, receipt)
    second, rest = continued(queue, name)
    if when == "before the end":
        again.tell_again(job, "r", EXACT, receipt)
    second.piece(rest, words(2) + says("stop") + DONE)
    second.finish(rest, End(200, usage=Usage(prompt_tokens=8, completion_tokens=2), gpu_seconds=1.0))
    assert exchange.take()
    if when == "after the end":
        again.tell_again(job, "r", EXACT, receipt)
    assert again.acknowledged == ["r"]
    assert figures(queue) == ("completed", "estimated continued", 5, 5, 1.0)


def test_a_word_that_comes_before_its_old_link_is_known_to_be_broken_is_not_lost() -> None:
    queue = VirtualQueue("m", max_attempts=1)
    worker, job, _ = begun(queue, 3)
    again = queue.worker("m", name="first", continues=True)
    again.tell_again(job, "r", EXACT, worker.receipts[job])
    worker.die()
    assert again.acknowledged == ["r"]
    assert figures(queue) == ("partial", "", 100, 20, 3.5)


def test_a_late_word_for_a_discarded_attempt_does_not_replace_the_estimate() -> None:
    queue = VirtualQueue("m", max_attempts=2)
    exchange = queue.ask(raw=ASK, stream=True)
    first = queue.worker("m", credit=1, name="first", continues=True)
    (job,) = first.jobs
    receipt = first.receipts[job]
    first.die()
    again = queue.worker("m", name="first", continues=True)
    again.tell_again(job, "r", EXACT, receipt)
    again.grant()
    (rest,) = again.jobs
    again.piece(rest, words(2))
    exchange.take()
    again.die()
    assert again.acknowledged == ["r"]
    assert figures(queue) == ("partial", "estimated", 0, 2, 0.0)


@pytest.mark.parametrize("got", [0, 2])
def test_a_late_word_for_the_rest_does_not_replace_the_sum(got: int) -> None:
    queue = VirtualQueue("m", max_attempts=2)
    worker, _, exchange = begun(queue, 3)
    worker.die()
    second, rest = continued(queue)
    receipt = second.receipts[rest]
    second.piece(rest, words(got))
    exchange.take()
    second.die()
    again = queue.worker("m", name="second")
    again.tell_again(rest, "r", End(200, usage=Usage(prompt_tokens=8, completion_tokens=2), gpu_seconds=1.0), receipt)
    assert figures(queue) == ("partial", "estimated continued", 0, 3 + got, 0.0)


# ---- workers without a name


@pytest.mark.parametrize("name", ["", "w"])
def test_what_a_worker_has_not_counted_is_uncounted_whatever_it_is_called(name: str) -> None:
    queue = VirtualQueue("m", max_attempts=1)
    queue.ask()
    worker = queue.worker("m", credit=1, name=name)
    worker.finish(min(worker.jobs), End(200, {"choices": []}))
    assert queue.ledger.row().doubt == "uncounted"


@pytest.mark.parametrize("name", ["", "w"])
def test_a_lost_worker_has_not_counted_whatever_it_is_called(name: str) -> None:
    queue = VirtualQueue("m", max_attempts=1)
    queue.ask()
    queue.worker("m", credit=1, name=name).die()
    assert queue.ledger.row().doubt == "uncounted"


@pytest.mark.parametrize("name", ["", "w"])
def test_a_lie_is_corrected_whatever_its_worker_is_called(name: str) -> None:
    queue = VirtualQueue("m")
    queue.ask()
    worker = queue.worker("m", credit=1, name=name)
    worker.finish(min(worker.jobs), End(200, {}, Usage(completion_tokens=2**30)))
    assert queue.ledger.row().doubt == "corrected"


def test_what_no_worker_had_has_no_doubt() -> None:
    queue = VirtualQueue("m", hold_seconds=5)
    queue.ask()
    queue.clock.pass_(10)
    assert figures(queue) == ("unserved", "", 0, 0, 0.0)


# ---- streams that several workers said


def test_the_gpu_time_of_all_workers_counts() -> None:
    queue = VirtualQueue("m")
    worker, job, exchange = begun(queue, 3)
    worker.finish(job, End(502, usage=Usage(completion_tokens=3), gpu_seconds=0.5))
    second, rest = continued(queue)
    second.piece(rest, words(2) + says("stop") + DONE)
    second.finish(rest, End(200, usage=Usage(prompt_tokens=8, completion_tokens=2), gpu_seconds=1.0))
    assert exchange.take()
    assert figures(queue) == ("completed", "estimated continued", 5, 5, 1.5)


def test_the_gpu_time_of_a_worker_that_was_too_slow_counts() -> None:
    queue = VirtualQueue("m", first_token_seconds=5)
    exchange = queue.ask(raw=ASK, stream=True)
    slow = queue.worker("m", credit=1, name="slow")
    (job,) = slow.jobs
    quick = queue.worker("m", credit=1, name="quick")
    queue.clock.pass_(6)
    assert slow.cancelled == [job]
    slow.finish(job, End(499, gpu_seconds=0.5))
    (rest,) = quick.jobs
    quick.piece(rest, words(2) + says("stop") + DONE)
    quick.finish(rest, EXACT)
    assert exchange.take()
    assert figures(queue) == ("completed", "", 100, 20, 4.0)


def test_all_parts_are_counted_when_the_last_worker_is_lost_too() -> None:
    queue = VirtualQueue("m", max_attempts=2)
    worker, job, exchange = begun(queue, 3)
    worker.finish(job, End(502, usage=Usage(completion_tokens=3), gpu_seconds=0.5))
    second, rest = continued(queue)
    second.piece(rest, words(2))
    exchange.take()
    second.die()
    assert figures(queue) == ("partial", "estimated continued", 0, 5, 0.5)


def test_an_estimate_of_the_rest_is_added_to_the_first_part() -> None:
    queue = VirtualQueue("m", max_attempts=2)
    worker, _, exchange = begun(queue, 3)
    worker.die()
    second, rest = continued(queue)
    second.piece(rest, words(2))
    exchange.take()
    second.finish(rest, End(502, usage=Usage(completion_tokens=2), gpu_seconds=1.0))
    assert figures(queue) == ("partial", "estimated continued", 0, 5, 1.0)


def test_what_the_next_engine_refuses_does_not_undo_what_the_client_has() -> None:
    queue = VirtualQueue("m")
    worker, _, _ = begun(queue, 3)
    worker.die()
    second, rest = continued(queue)
    second.finish(rest, End(400, {"error": {"message": "too long"}}))
    assert figures(queue) == ("partial", "estimated continued", 0, 3, 0.0)


def test_a_stream_that_begins_anew_is_counted_by_its_worker_alone() -> None:
    queue = VirtualQueue("m")
    exchange = queue.ask(raw=ASK, stream=True)
    queue.worker("m", credit=1, name="first", continues=True).die()
    second = queue.worker("m", credit=1, name="second", continues=True)
    (job,) = second.jobs
    second.piece(job, words(2) + says("stop") + DONE)
    second.finish(job, EXACT)
    assert exchange.take()
    assert figures(queue) == ("completed", "", 100, 20, 3.5)


# ---- streams that their clients have whole


def test_a_stream_that_lacks_only_its_last_event_has_its_engines_count() -> None:
    queue = VirtualQueue("m")
    worker, job, exchange = begun(queue, 2, WITH_USAGE)
    worker.piece(job, says("stop") + usage(9, 2))
    exchange.take()
    worker.die()
    assert exchange.take() == DONE
    assert figures(queue) == ("completed", "estimated", 9, 2, 0.0)


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize(("raw", "last", "prompt"), [(ASK, b"", 0), (WITH_USAGE, usage(9, 2), 9)])
def test_a_whole_stream_whose_worker_is_lost_has_its_tokens(raw: bytes, last: bytes, prompt: int, read: bool) -> None:
    queue = VirtualQueue("m")
    worker, job, exchange = begun(queue, 1, raw)
    worker.piece(job, words(1) + says("stop") + last + DONE)
    if read:
        exchange.take()
        exchange.complete = True
    worker.die()
    assert figures(queue) == ("completed", "estimated", prompt, 2, 0.0)


def test_a_stream_that_said_all_it_may_has_its_tokens() -> None:
    queue = VirtualQueue("m")
    worker, _, exchange = begun(queue, 2, ASK[:-1] + b', "max_tokens": 2}')
    worker.die()
    assert str(exchange.take()).count("length") == 1
    assert figures(queue) == ("completed", "estimated", 0, 2, 0.0)


def test_the_events_of_a_stream_whose_client_and_worker_are_lost_count() -> None:
    queue = VirtualQueue("m")
    worker, _, exchange = begun(queue, 3)
    queue.dispatcher.leave(exchange)
    worker.die()
    assert figures(queue) == ("cancelled", "estimated", 0, 3, 0.0)


@pytest.mark.parametrize("stream", [True, False])
def test_an_honest_count_stays_when_its_answer_comes_after_its_client_has_left(stream: bool) -> None:
    queue = VirtualQueue("m")
    exchange = queue.ask(raw=ASK, stream=stream)
    worker = queue.worker("m", credit=1, name="first")
    (job,) = worker.jobs
    queue.dispatcher.leave(exchange)
    worker.piece(job, b"x" * 1000)
    worker.finish(job, EXACT)
    assert figures(queue) == ("cancelled", "", 100, 20, 3.5)


def test_events_of_reasoning_count() -> None:
    queue = VirtualQueue("m")
    worker, job, exchange = begun(queue, 1)
    worker.piece(job, says(reasoning_content="so") + says(reasoning_content="then"))
    exchange.take()
    worker.die()
    assert figures(queue) == ("partial", "estimated", 0, 3, 0.0)


@pytest.mark.parametrize(
    "event",
    [
        event(choices=[], usage={"prompt_tokens": -1, "completion_tokens": "many"}),
        event(choices=[], usage=7),
        event(choices=[{"delta": "x"}]),
        event(choices=[{"delta": ["x"]}]),
    ],
)
def test_a_stream_that_no_engine_writes_is_counted_by_its_words(event: bytes) -> None:
    queue = VirtualQueue("m", max_attempts=1)
    worker, job, exchange = begun(queue, 1, WITH_USAGE)
    worker.piece(job, event)
    exchange.take()
    worker.die()
    assert figures(queue)[:2] == ("partial", "estimated")
    assert figures(queue)[3] >= 1
