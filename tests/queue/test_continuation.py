"""A stream whose worker is lost in its middle, and the rest of it from another worker."""

import itertools
import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_setup import DONE, Queue, Start
from raw_http import RawClient
from v1_worker import V1Worker
from virtual_queue import VirtualQueue, VirtualWorker, error

from headrace_api import wire
from headrace_queue.continuation import CHAT, COMPLETIONS, Again, Over, Stitch, resumed, usage_in
from headrace_queue.exchange import Exchange
from headrace_queue.http import server as http_server
from headrace_queue.transcript import Transcript

WORDS = ["Der ", "Löwe ", "\n\n", "data: [DONE]", ' sagt "', "🙂", "."]
ASK: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "?"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 50,
}
HEAD = {"object": "chat.completion.chunk", "created": 7, "model": "m"}


def event(stream_id: str, **more: Any) -> bytes:
    return b"data: " + json.dumps({"id": stream_id, **HEAD, **more}).encode() + b"\n\n"


def says(stream_id: str, finish: str | None = None, **delta: str) -> bytes:
    return event(stream_id, choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def stream(stream_id: str, words: list[str], before: int) -> bytes:
    """As an engine streams it that begins after so many words."""
    usage = {"prompt_tokens": 9 + before, "completion_tokens": len(words), "total_tokens": 9 + before + len(words)}
    return b"".join([
        says(stream_id, role="assistant", content=""),
        *(says(stream_id, content=word) for word in words),
        says(stream_id, "stop"),
        event(stream_id, choices=[], usage=usage),
        DONE,
    ])  # fmt: skip


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class Client:
    """What the exchange does with a stream, without the exchange."""

    def __init__(self) -> None:
        self.transcript, self.stitch = Transcript(), Stitch(None)
        self.data = self._rest = b""

    def get(self, data: bytes, stitch: Stitch | None = None) -> None:
        whole, self._rest = self.transcript.split(self._rest + (stitch.feed(data) if stitch else data))
        self.transcript.add(whole)
        self.data += whole

    def lose(self) -> Again | Over | None:
        self._rest = b""
        return resumed(CHAT, json.dumps(ASK).encode(), self.transcript.events())


@given(st.data(), st.lists(st.integers(0, 10_000), max_size=10), st.lists(st.integers(0, 10_000), max_size=10))
def test_two_streams_are_one_wherever_the_first_is_cut(data: st.DataObject, cuts: list[int], more: list[int]) -> None:
    client, undisturbed = Client(), stream("first", WORDS, 0)
    cut = data.draw(st.integers(0, undisturbed.index(b'"stop"')))
    for piece in pieces(undisturbed[:cut], cuts):
        client.get(piece)
    again = client.lose()
    assert isinstance(again, Again)
    said = "".join(WORDS[: len([word for word in client.data.split(b"\n\n") if b'"content": "' in word]) - 1])
    asked = json.loads(again.raw)
    known = client.data.count(b"\n\n")
    before = max(0, known - 1)
    assert again.continued == bool(before)
    if again.continued:
        assert asked["messages"][1:] == [{"role": "assistant", "content": said}]
        assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
        assert asked["max_tokens"] == 50 - before
    else:
        assert asked == ASK
    second = stream("second" if known else "first", WORDS[before:], before)
    for piece in pieces(second, more):
        client.get(piece, again.stitch)
    assert [json.loads(one) for one in events(client.data)] == [json.loads(one) for one in events(undisturbed)]
    assert client.data.endswith(DONE)
    assert client.data.count(DONE) == 1


def events(data: bytes) -> list[bytes]:
    return [one.removeprefix(b"data: ") for one in data.split(b"\n\n") if one and one + b"\n\n" != DONE]


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"tools": [{"type": "function"}]},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"guided_regex": "a+"},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "mine"}]},
    ],
)
def test_what_no_engine_could_take_up_is_not_continued(more: dict[str, Any]) -> None:
    said = says("1", role="assistant", content="a").split(b"\n\n")[:-1]
    assert resumed(CHAT, json.dumps(ASK | more).encode(), said) is None
    assert resumed(CHAT, json.dumps(ASK | dict.fromkeys(more) | {"messages": ASK["messages"]}).encode(), said)


@pytest.mark.parametrize("delta", [{"reasoning_content": "hm"}, {"tool_calls": [{"index": 0}]}])
def test_an_answer_that_is_not_only_text_is_not_continued(delta: dict[str, Any]) -> None:
    assert resumed(CHAT, json.dumps(ASK).encode(), [says("1", **delta).rstrip()]) is None


@pytest.mark.parametrize(
    "said",
    [
        [event("1", choices=[{"index": number % 2, "delta": {"content": "a"}}]) for number in range(4)],
        [says("1", reasoning_content="hm"), says("1", reasoning_content="hm"), *[says("1", content="a")] * 2],
        [event("1", choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}])] * 4,
        [says("1", role="assistant", content=""), *[says("1", content="a")] * 4, says("1", "stop")],
    ],
    ids=["choices", "reasoning", "tools", "text"],
)
def test_what_cannot_be_continued_is_counted_all_the_same(said: list[bytes]) -> None:
    assert usage_in(CHAT, [one.rstrip() for one in said]).completion_tokens == 4


@pytest.mark.parametrize(
    "odd",
    [{"choices": [{"delta": "text"}]}, {"choices": [], "usage": {"prompt_tokens": -5}}, {"choices": [], "usage": 7}],
)
def test_odd_events_of_a_worker_that_dies_end_only_their_stream(odd: dict[str, Any]) -> None:
    queue = VirtualQueue("m")
    worker = queue.worker("m", continues=True, credit=1)
    exchange = queue.ask(raw=json.dumps(ASK | {"stream_options": None}).encode(), stream=True)
    worker.piece(next(iter(worker.jobs)), says("1", "stop", content="a") + event("1", **odd))
    exchange.take()
    worker.die()
    assert exchange.over
    stitch = Stitch({"id": "1"}, has_role=True, tokens=1)
    assert stitch.feed(event("2", **odd)).endswith(b"\n\n")


def test_a_stream_of_a_worker_that_cannot_continue_tells_what_was_sent_of_it() -> None:
    queue = VirtualQueue("m")
    worker = queue.worker("m", name="w", credit=1)
    exchange = queue.ask(stream=True)
    worker.piece(next(iter(worker.jobs)), says("1", content="a") + says("1", content='"choices"'))
    exchange.take()
    worker.die()
    assert exchange.end is not None
    assert exchange.end.body is not None
    assert exchange.end.body["usage"] == {"completion_tokens": 2}
    assert queue.ledger.rows[0].doubt == "estimated", "its worker may yet tell"


def test_a_completion_goes_on_behind_its_prompt() -> None:
    said = b'data: {"id": "1", "choices": [{"index": 0, "text": " and", "finish_reason": null}]}'
    again = resumed(COMPLETIONS, b'{"model": "m", "prompt": "This", "stream": true, "max_tokens": 5}', [said])
    assert isinstance(again, Again)
    assert json.loads(again.raw) == {"model": "m", "prompt": "This and", "stream": True, "max_tokens": 4}
    assert resumed(COMPLETIONS, b'{"model": "m", "prompt": [1, 2], "stream": true}', [said]) is None


def test_only_the_end_is_missing() -> None:
    whole = [says("1", content="a").rstrip(), says("1", "stop").rstrip()]
    quiet = {key: value for key, value in ASK.items() if key != "stream_options"}
    assert resumed(CHAT, json.dumps(quiet).encode(), whole) == Over(DONE)
    assert resumed(CHAT, json.dumps(ASK).encode(), whole) is None  # nobody knows the usage that was asked for
    full = resumed(CHAT, json.dumps(quiet | {"max_tokens": 1}).encode(), whole[:1])
    assert isinstance(full, Over)
    assert full.data.endswith(DONE)
    assert b'"finish_reason":"length"' in full.data


def test_a_long_transcript_is_compressed_and_the_same() -> None:
    transcript, given = Transcript(), [says("1", content=f"word {number}") for number in range(2000)]
    for one in given:
        transcript.add(one)
    assert [event + b"\n\n" for event in transcript.events()] == given
    assert sum(map(len, transcript._blocks)) + transcript._open_size < sum(map(len, given)) / 5


async def test_another_worker_says_the_rest(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as first:
        task = queue.ask(stream=True, stream_options={"include_usage": True})
        job = await first.expect(wire.Job)
        await first.pieces((job.job, stream("1", WORDS, 0)[:700]))
        answer = await task
        got = [await anext(answer) for _ in range(3)]
        async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as second:
            first.die()
            rest = await second.expect(wire.Job)
            assert rest.continues
            said = rest.openai_req["messages"][-1]["content"]
            before = next(count for count in range(len(WORDS)) if "".join(WORDS[:count]) == said)
            assert rest.said_tokens == before
            await second.pieces((rest.job, stream("2", WORDS[before:], before)))
            usage = {"prompt_tokens": 9 + before, "completion_tokens": len(WORDS) - before, "total_tokens": 16}
            await second.result(rest, usage=usage)
            got += [chunk async for chunk in answer]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in got if chunk.choices) == "".join(WORDS)
    assert {chunk.id for chunk in got} == {"1"}
    assert [chunk.choices[0].delta.role for chunk in got if chunk.choices].count("assistant") == 1
    assert (got[-1].usage.prompt_tokens, got[-1].usage.completion_tokens) == (9, len(WORDS))
    logged = [line for line in queue.logged() if line["event"] == "request"]
    assert (logged[0]["prompt_tokens"], logged[0]["completion_tokens"], logged[0]["attempts"]) == (9, len(WORDS), 2)


async def test_who_waits_for_the_next_worker_in_the_middle_of_a_stream_is_told_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_TICK_SECONDS", 0.02)
    queue = await start(models=("m",), waiting_comment_seconds=0.1)
    async with RawClient(queue.server.port) as client:
        async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as first:
            client.post(ASK)
            await client.head()
            job = await first.expect(wire.Job)
            begun = says("1", role="assistant", content="a")
            await first.pieces((job.job, begun + says("1", content="b")[:20]))
            while (data := await client.chunk()) != begun:
                assert data.startswith(b": waiting")
            first.die()
            assert (await client.chunk()).startswith(b": waiting")
        async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as second:
            rest = await second.expect(wire.Job)
            for _ in range(3):
                assert (await client.chunk()).startswith(b": waiting"), "until it says something"
            await second.pieces((rest.job, says("2", content="b") + says("2", "stop") + DONE))
            while (data := await client.chunk()).startswith(b": waiting"):
                pass
            assert b'"content":"b"' in data
            await second.result(rest)


async def test_an_engine_that_breaks_off_is_continued_elsewhere(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, says("1", role="assistant", content="a")))
        answer = await task
        await anext(answer)
        await worker.send(wire.Result(job=job.job, request_id=job.request_id, status=502))
        await worker.send(wire.Credit(n=1))
        rest = await worker.expect(wire.Job)
        await worker.pieces((rest.job, says("2", content="b") + says("2", "stop") + DONE))
        await worker.send(wire.Result(job=rest.job, request_id=rest.request_id))
        assert [chunk.choices[0].delta.content async for chunk in answer] == ["b", None]


async def test_a_stream_that_nobody_can_continue_ends_with_an_error(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as first:
        task = queue.ask(stream=True)
        job = await first.expect(wire.Job)
        await first.pieces((job.job, says("1", role="assistant", content="a")))
        answer = await task
        await anext(answer)
        async with V1Worker(queue.worker_url, "m", credit=1) as second:
            first.die()
            with pytest.raises(openai.APIError, match="lost in the middle"):
                await anext(answer)
            assert await second.silent()


async def test_a_broken_stream_tells_what_was_sent_of_it(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, continues=True) as worker:
        task = queue.ask(stream=True, logprobs=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, says("1", role="assistant", content="a") + says("1", content="b")))
        answer = await task
        assert [(await anext(answer)).choices[0].delta.content for _ in range(2)] == ["a", "b"]
        broken = {"error": {"message": "the engine died", "type": "x", "param": None, "code": "response_broken_off"}}
        await worker.result(job, status=502, body=broken, gpu_seconds=0.5)
        with pytest.raises(openai.APIError, match="the engine died") as raised:
            await anext(answer)
    assert raised.value.code == "response_broken_off"
    line = next(line for line in queue.logged() if line["event"] == "request")
    assert (line["status"], line["completion_tokens"]) == (502, 2)


def halfway(queue: VirtualQueue, **more: Any) -> tuple[VirtualWorker, Exchange]:
    """A stream, and the worker that has begun it."""
    worker = queue.worker("m", continues=True, credit=1, **more)
    exchange = queue.ask(raw=json.dumps(ASK).encode(), stream=True)
    worker.piece(next(iter(worker.jobs)), says("1", role="assistant", content="a"))
    exchange.take()
    return worker, exchange


def test_a_stream_goes_on_with_a_worker_that_can() -> None:
    queue = VirtualQueue("m")
    first, exchange = halfway(queue)
    other, able = queue.worker("m", credit=9), queue.worker("m", continues=True, credit=1)
    first.die()
    assert [call.continues for call in able.jobs.values()] == [True]
    assert (other.asked, exchange.over) == ([], False)


def test_a_stream_waits_for_a_worker_that_can_as_long_as_there_is_one() -> None:
    queue = VirtualQueue("m")
    first, exchange = halfway(queue)
    other, able = queue.worker("m", credit=9), queue.worker("m", continues=True)
    first.die()
    assert not exchange.over
    queue.ask("new", stream=True)
    assert other.asked == ["new"], "it is in nobody's way"
    able.grant()
    assert able.asked == ["r"]


@pytest.mark.parametrize("models", [["m"], []], ids=["dedicated", "generalist"])
def test_a_stream_ends_at_once_where_no_worker_can_go_on(models: list[str]) -> None:
    queue = VirtualQueue("m")
    first, exchange = halfway(queue)
    other = queue.worker(*models, credit=1)
    first.die()
    assert error(exchange) == (502, "worker_lost")
    assert other.asked == []
    assert queue.schedule.waiting == 0


def test_a_stream_waits_where_there_is_no_worker_at_all() -> None:
    queue = VirtualQueue("m", hold_seconds=60)
    first, exchange = halfway(queue)
    first.die()
    queue.clock.pass_(59)
    assert not exchange.over
    queue.worker("m", credit=1)
    queue.clock.pass_(2)
    assert error(exchange) == (502, "worker_lost")
    assert exchange.end is not None
    assert exchange.end.body is not None
    assert exchange.end.body["usage"] == {"completion_tokens": 1}
