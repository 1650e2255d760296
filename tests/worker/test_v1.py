"""The `headrace.v1` protocol, as the queue sees it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from headrace_api.wire import Cancel, Credit, Drain, HandBack, Job, Register, Registered, Result, Usage, encoded
from headrace_worker import puller
from tests.waiting import until
from tests.worker import conftest
from tests.worker.asgi_engine import AsgiEngine
from tests.worker.conftest import REGISTER, Pulling
from tests.worker.scripted_engine import CHUNKS, DONE, HUGE, USAGE, USAGE_CHUNK, ScriptedEngine
from tests.worker.scripted_queue import CHAT, PATIENCE_S, Connection, ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
STREAM = {"stream": True}


@pytest.fixture(params=[ScriptedEngine, AsgiEngine], ids=["http", "multiplexed"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedEngine]:
    async with request.param().serving() as engine:
        yield engine


async def test_registers_grants_its_slots_and_answers(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url, slots=3, token="secret") as worker:
        connection = await queue.connection()
        register, credit = await connection.greet()
        assert (register, credit.n) == (REGISTER.model_copy(update={"capacity": 3}), 3)
        assert connection.headers["Authorization"] == "Bearer secret"
        await connection.ask(7, "quick")
        result = await connection.expect(Result)
        assert (result.job, result.request_id, result.status) == (7, "request-7", 200)
        assert result.usage == Usage(**USAGE)
        assert json.loads(connection.answers[7])["choices"][0]["message"]["content"] == "quick"
        assert (await connection.expect(Credit)).n == 1
        assert worker.registered == [True]


async def test_streams_bytes_and_keeps_the_usage_chunk_to_itself(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "quick", stream=True, stop="END")
        assert (await connection.expect(Result)).usage == Usage(**USAGE)
        assert connection.answers[1] == b"".join(CHUNKS) + DONE
        assert engine.requests[0]["stream_options"] == {"include_usage": True}
        assert engine.requests[0]["stop"] == ["</s>", "END"]


async def test_passes_the_usage_chunk_on_to_a_client_that_asked(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "quick", stream=True, stream_options={"include_usage": True})
        assert (await connection.expect(Result)).usage == Usage(**USAGE)
        assert connection.answers[1] == b"".join(CHUNKS) + USAGE_CHUNK + DONE


async def test_pieces_of_several_jobs_share_a_frame(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url, slots=32):
        connection = await queue.connection()
        await connection.greet()
        for job in range(32):
            await connection.ask(job, "held", stream=True)
        await until(lambda: len(connection.answers) == 32)
        engine.go_on.set()
        assert {result.status for result in await connection.results(32)} == {200}
        assert all(answer == b"".join(CHUNKS) + DONE for answer in connection.answers.values())
        assert max(len({job for job, _ in frame}) for frame in connection.frames) > 1
        assert len(connection.frames) < sum(len(frame) for frame in connection.frames)


async def test_an_engine_error_is_the_results_status_and_body(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "bad", stream=True)
        result = await connection.expect(Result)
        assert (result.status, result.body) == (400, {"error": {"message": "context too long", "code": 400}})
        assert not connection.frames


async def ended(connection: Connection) -> tuple[Result | HandBack, list[Drain]]:
    """The end of a job, and the drains before it."""
    drains: list[Drain] = []
    while isinstance(message := await asyncio.wait_for(connection.messages.get(), PATIENCE_S), Drain):
        drains.append(message)
    assert isinstance(message, (Result, HandBack)), message
    return message, drains


@pytest.mark.parametrize("healthy", [True, False], ids=["healthy", "dead"])
async def test_an_engine_that_fails_in_a_stream_has_not_ended_it(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start, *, healthy: bool
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        engine.healthy = healthy
        await connection.ask(1, "broken", stream=True)
        result, drains = await ended(connection)
        assert isinstance(result, Result)
        assert (result.status, result.usage) == (502, Usage(completion_tokens=1)), "as many as were sent"
        assert connection.answers[1] == CHUNKS[0]
        assert "EngineCore encountered an issue" in str(result.body)
        assert bool(drains) is not healthy


async def test_a_dead_engine_hands_back_a_stream_that_it_ended_with_an_error(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        engine.healthy = False
        await connection.ask(1, "broken at once", stream=True)
        end, drains = await ended(connection)
        assert drains
        assert end == HandBack(job=1, reason="the engine was lost: EngineCore encountered an issue", failed=True)
        assert not connection.answers


async def test_a_healthy_engine_that_says_nothing_but_an_error_has_failed_the_request(
    queue: ScriptedQueue, pulling: Start
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "broken at once", stream=True)
        result, drains = await ended(connection)
        assert isinstance(result, Result)
        assert (result.status, drains, connection.frames) == (502, [], [])


async def test_an_error_of_the_request_in_a_stream_is_its_own(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "refused", stream=True)
        result, _ = await ended(connection)
        assert isinstance(result, Result)
        assert (result.status, connection.answers[1]) == (400, CHUNKS[0])
        assert result.body == {"error": {"message": "no such thing", "type": "BadRequestError", "code": 400}}


@pytest.mark.parametrize("healthy", [True, False], ids=["healthy", "dead"])
async def test_a_whole_answer_is_lost_where_the_engine_is(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start, *, healthy: bool
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        engine.healthy = healthy
        await connection.ask(1, "failing")
        end, drains = await ended(connection)
        assert bool(drains) is not healthy
        if healthy:
            assert isinstance(end, Result)
            assert end.status == 500
        else:
            assert isinstance(end, HandBack)
            assert end.failed


async def test_what_the_engine_cannot_continue_is_not_its_loss(
    queue: ScriptedQueue, pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "REGISTER", REGISTER.model_copy(update={"continues": True}))  # before it was known
    async with pulling(queue.url):
        connection = await queue.connection()
        register, _ = await connection.greet()
        assert not register.continues
        request = {"model": "public-name", "stream": True, "messages": [{"role": "user", "content": "quick"}]}
        asked = Job(job=1, request_id="request-1", openai_url=CHAT, openai_req=request, continues=True)
        await connection.send(asked)
        handed_back = await connection.expect(HandBack)
        assert handed_back == HandBack(job=1, reason="the engine cannot continue an answer")
        await connection.expect(Credit)
        await connection.ask(2, "quick")
        assert (await connection.expect(Result)).status == 200


async def test_cancel_closes_the_engines_request(queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "held", stream=True)
        await connection.first_piece()
        await connection.send(Cancel(job=1))
        await connection.send(Cancel(job=1))
        result = await connection.expect(Result)
        assert (result.status, result.usage) == (499, Usage(prompt_tokens=len("held"), completion_tokens=1))
        assert (await connection.expect(Credit)).n == 1
        await asyncio.wait_for(engine.left.wait(), PATIENCE_S)


async def test_a_job_cancelled_before_it_starts_still_ends(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await asyncio.gather(connection.ask(1, "held back"), connection.send(Cancel(job=1)))
        assert (await connection.expect(Result)).status == 499
        assert (await connection.expect(Credit)).n == 1


async def test_what_a_broken_connection_cost_is_told_where_receipts_are_given(
    queue: ScriptedQueue, pulling: Start
) -> None:
    async with pulling(queue.url):
        first = await queue.connection()
        await first.greet()
        for job, receipt in ((1, "a receipt"), (2, "")):
            request = {"model": "public-name", "stream": True, "messages": [{"role": "user", "content": "held"}]}
            asked = Job(job=job, request_id=f"request-{job}", openai_url=CHAT, openai_req=request, receipt=receipt)
            await first.send(asked)
        while len(first.answers) < 2:
            first.piece.clear()
            await first.first_piece()
        await first.socket.close()
        second = await queue.connection()
        await second.expect(Register)
        await second.send(Registered())
        result = await second.expect(Result)
        assert (result.request_id, result.receipt, result.status) == ("request-1", "a receipt", 502)
        assert result.usage is not None
        assert result.usage.completion_tokens >= 1
        assert isinstance(await second.expect(Credit), Credit), "and nothing of the other"


async def test_results_are_sent_again_until_acknowledged(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url) as worker:
        first = await queue.connection()
        await first.greet()
        for job in (1, 2):
            await first.ask(job, "quick")
            await first.expect(Result)
            await first.expect(Credit)
        await first.ack("request-1")
        await first.socket.close()
        second = await queue.connection()
        await second.expect(type(REGISTER))
        await second.send(Registered())
        again = await second.expect(Result)
        assert (again.request_id, again.usage) == ("request-2", Usage(**USAGE))
        assert (await second.expect(Credit)).n == 4
        await second.ack("request-2")
        await second.socket.close()
        _, credit = await (await queue.connection()).greet()
        assert credit.n == 4
        assert worker.registered == [True, False, True, False, True]


async def test_a_lost_connection_frees_the_engine(queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start) -> None:
    async with pulling(queue.url):
        first = await queue.connection()
        await first.greet()
        await first.ask(1, "held", stream=True)
        await first.first_piece()
        await first.socket.close()
        await asyncio.wait_for(engine.left.wait(), PATIENCE_S)
        _, credit = await (await queue.connection()).greet()
        assert credit.n == 4


async def test_drain_finishes_hands_back_and_leaves(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url) as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "held", stream=True)
        await connection.first_piece()
        draining = asyncio.create_task(worker.puller.drain("stopping", 10))
        assert (await connection.expect(Drain)).reason == "stopping"
        await connection.ask(2, "quick")
        assert (await connection.expect(HandBack)).job == 2
        engine.go_on.set()
        assert (await connection.expect(Result)).status == 200
        await connection.ack("request-1")
        await draining
        await asyncio.wait_for(worker.task, 1)
        assert connection.closed.is_set()


async def test_after_the_grace_period_jobs_are_handed_back_or_broken_off(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url) as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "held", stream=True)
        await connection.ask(2, "held back", stream=True)
        await connection.first_piece()
        draining = asyncio.create_task(worker.puller.drain("stopping", 0.05))
        await connection.expect(Drain)
        ends = {type(end): end for end in [await connection.messages.get(), await connection.messages.get()]}
        assert ends[HandBack] == HandBack(job=2, reason="the worker is stopping")
        result = ends[Result]
        assert isinstance(result, Result)
        assert (result.job, result.status) == (1, 503)
        await connection.ack("request-1")
        await draining


async def test_a_dead_engine_hands_back_what_it_had_not_begun_to_answer(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "held", stream=True)
        await connection.ask(2, "held back")
        await connection.first_piece()
        engine.die()
        assert "engine was lost" in (await connection.expect(Drain)).reason
        ends = {}
        for _ in range(2):
            message = await asyncio.wait_for(connection.messages.get(), PATIENCE_S)
            ends[type(message)] = message
        assert ends[HandBack].job == 2
        result = ends[Result]
        assert isinstance(result, Result)
        assert (result.job, result.status) == (1, 502)
        assert result.body
        assert "engine was lost" in result.body["error"]["message"]


async def test_a_draining_queue_is_left_when_the_jobs_are_done_and_joined_again(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        first = await queue.connection()
        await first.greet()
        await first.ask(1, "held", stream=True)
        await first.first_piece()
        await first.send(Drain(reason="restart"))
        await asyncio.sleep(0.05)
        assert not first.closed.is_set()
        engine.go_on.set()
        assert (await first.expect(Result)).status == 200
        await first.ack("request-1")
        await (await queue.connection()).greet()
        assert first.messages.empty()


async def test_messages_of_later_versions_are_ignored(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        await connection.socket.send_str('{"type": "unheard of"}')
        await connection.send(Cancel(job=99))
        request = {"model": "public-name", "messages": [{"role": "user", "content": "quick"}]}
        asked = encoded(Job(job=1, request_id="request-1", openai_url=CHAT, openai_req=request))
        await connection.socket.send_str(f'[{{"type": "unheard of"}}, {asked}]')
        assert (await connection.expect(Result)).status == 200


async def test_a_frame_that_cannot_be_read_ends_the_connection(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        first = await queue.connection()
        await first.greet()
        await first.ask(1, "held", stream=True)
        await first.first_piece()
        await first.socket.send_str('[{"type": "job", "job": 2, "openai_req": {"temperature": Infinity}}]')
        await asyncio.wait_for(first.closed.wait(), PATIENCE_S)
        _, credit = await (await queue.connection()).greet()
        assert credit.n == 4


async def test_a_number_that_no_float_holds_is_refused_by_name(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        head = f'{{"type": "job", "job": 1, "request_id": "request-1", "openai_url": "{CHAT}", "openai_req": '
        await connection.socket.send_str(
            head + '{"model": "public-name", "logit_bias": {"5": -1e999}, "messages": []}}'
        )
        result = await connection.expect(Result)
        assert result.status == 400
        assert result.body
        assert result.body["error"]["message"].startswith("logit_bias.5: the number is too large")
        await connection.expect(Credit)
        await connection.ask(2, "quick", stop="Infinity")
        assert (await connection.expect(Result)).status == 200
        assert len(engine.requests) == 1


@pytest.mark.slow
async def test_a_lost_engine_gets_no_job_before_it_is_healthy_again(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url):
        first = await queue.connection()
        await first.greet()
        await first.ask(1, "held back")
        await until(lambda: engine.requests)
        engine.healthy = False
        checks = engine.health_checks
        engine.die()
        await first.expect(Drain)
        handed_back = await first.expect(HandBack)
        assert (handed_back.job, handed_back.failed) == (1, True)
        await asyncio.wait_for(first.closed.wait(), PATIENCE_S)
        assert first.messages.empty()
        await until(lambda: engine.health_checks > checks + 1)
        assert queue.connections.empty()
        engine.healthy = True
        _, credit = await (await queue.connection()).greet()
        assert credit.n == 4


@pytest.mark.slow
async def test_a_large_answer_goes_in_frames_that_a_queue_accepts(queue: ScriptedQueue, pulling: Start) -> None:
    async with pulling(queue.url):
        connection = await queue.connection()
        await connection.greet()
        for job in range(3):
            await connection.ask(job, "huge")
        assert [result.status for result in await connection.results(3)] == [200] * 3
        assert [connection.answers[job] for job in range(3)] == [HUGE] * 3
        assert max(sum(8 + len(data) for _, data in frame) for frame in connection.frames) < 3 << 20


@pytest.mark.slow
async def test_a_queue_that_does_not_answer_may_be_a_spider_once(
    queue: ScriptedQueue, pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "_REGISTERED_S", 0.5)
    offered = "Sec-WebSocket-Protocol"
    async with pulling(queue.url):
        assert offered in (await queue.connection()).headers
        as_spider = await queue.connection()
        assert offered not in as_spider.headers
        await as_spider.socket.close()
        third = await queue.connection()
        assert offered in third.headers
        await third.greet()
        await third.socket.close()
        # It has answered once: from now on it is only slow.
        for _ in range(2):
            assert offered in (await queue.connection()).headers
