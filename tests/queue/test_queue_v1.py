"""The `headrace.v1` protocol, each side of each message."""

import asyncio
import json
from functools import partial
from typing import Any

import jsonschema
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_setup import DONE, PLAIN, Queue, Start, chunk, eventually
from raw_http import RawClient
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue import openapi
from headrace_queue.exchange import Call
from headrace_queue.worker_socket import ack_message, job_message

REGISTER_AGAIN = wire.Register(worker="", models=["m"], fingerprint="", cpu_count=1, disk_space=1, vram=1)


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())), st.text(), st.floats(0, 1e6), st.text()
)
def test_a_job_message_is_a_job(body: dict[str, object], url: str, waited_s: float, receipt: str) -> None:
    call = Call("r", "m", url, json.dumps(body).encode())
    expected = wire.Job(
        job=7, request_id="r", openai_url=url, openai_req=body, waited_s=round(waited_s, 6), receipt=receipt
    )
    assert wire.read_queue_messages(job_message(7, call, waited_s, receipt)) == [expected]


@pytest.mark.parametrize("request_id", ["r", 'a "quoted" \\ one', "ü\n"])
def test_an_ack_message_is_an_ack(request_id: str) -> None:
    assert wire.read_queue_messages(ack_message(request_id)) == [wire.Ack(request_id=request_id)]


async def test_pieces_of_several_jobs_in_one_frame(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "org/m", credit=2) as worker:
        streams = [queue.ask("org/m", stream=True) for _ in range(2)]
        jobs = [await worker.expect(wire.Job) for _ in streams]
        assert jobs[0].openai_url == "/v1/chat/completions"
        assert jobs[0].openai_req["stream"] is True
        for part in ("x", "y"):
            await worker.pieces(*((job.job, chunk(part + str(job.job))) for job in jobs))
        await worker.pieces(*((job.job, DONE) for job in jobs))
        for job in jobs:
            await worker.result(job, usage=wire.Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5))
        texts = {"".join([c.choices[0].delta.content async for c in await stream]) for stream in streams}
    assert texts == {f"x{job.job}y{job.job}" for job in jobs}
    assert queue.metric("headrace_queue_tokens_total", model="org/m", kind="prompt") == 6
    await eventually(
        lambda: (
            queue.metric("headrace_queue_requests_total", model="other", status="200") == 2
            or queue.metric("headrace_queue_requests_total", model="org/m", status="200") == 2
        )
    )


async def test_bytes_pass_through_untouched(queue: Queue) -> None:
    odd = b": a comment\r\ndata: {not even json}\n\n\x00\xff"
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}], "vendor": {"top": 1}}
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = asyncio.create_task(queue.http.post(f"{queue.url}/v1/chat/completions", json=body))
        job = await worker.expect(wire.Job)
        assert job.openai_req == body
        await worker.pieces((job.job, odd))
        async with await task as response:
            assert await response.content.readexactly(len(odd)) == odd, "the first piece comes before the end"
            await worker.result(job)
            assert await response.read() == b""
            assert response.headers["x-request-id"] == job.request_id
            assert response.content_type == "text/event-stream"


async def test_an_unstreamed_body_can_come_in_pieces(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        text = json.dumps({**PLAIN, "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]})
        await worker.pieces((job.job, text[:40].encode()), (job.job, text[40:].encode()))
        await worker.result(job)
        assert (await task).choices[0].message.content == "hi"


@pytest.mark.slow
async def test_credits_bound_what_a_worker_gets(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m") as worker:
        tasks = [queue.ask() for _ in range(3)]
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 3)
        assert await worker.silent()
        await worker.send(wire.Credit(n=2))
        jobs = [await worker.expect(wire.Job) for _ in range(2)]
        assert await worker.silent()
        for job in jobs:
            await worker.result(job, body=PLAIN)
        assert await worker.silent(), "a result gives no credit"
        await worker.send(wire.Credit(n=1))
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await asyncio.gather(*tasks)


async def test_other_endpoints_reach_the_worker(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = asyncio.create_task(queue.client.embeddings.create(model="m", input="x", encoding_format="float"))
        job = await worker.expect(wire.Job)
        assert job.openai_url == "/v1/embeddings"
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        await worker.result(job, body={"object": "list", "model": "m", "data": [vector]})
        assert (await task).data[0].embedding == [0.5]


async def test_the_worker_with_the_most_credits_gets_the_job(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as small, V1Worker(queue.worker_url, "m", credit=3) as big:
        await eventually(lambda: len(queue.server.dispatcher.schedule.load()) == 0)
        await asyncio.sleep(0.05)
        tasks = [queue.ask() for _ in range(2)]
        for job in [await big.expect(wire.Job) for _ in tasks]:
            await big.result(job, body=PLAIN)
        assert await small.silent()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("stream", [False, True])
async def test_cancel_when_the_client_leaves(queue: Queue, stream: bool) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=stream)
        job = await worker.expect(wire.Job)
        if stream:
            await worker.pieces((job.job, chunk("x")))
            await (await task).response.aclose()
        else:
            task.cancel()
        assert (await worker.expect(wire.Cancel)).job == job.job
        await worker.pieces((job.job, chunk("too late")))
        await worker.result(job, status=499, usage=wire.Usage(prompt_tokens=3, completion_tokens=1, total_tokens=4))
    assert queue.metric("headrace_queue_requests_total", model="m", status="499") == 1
    assert queue.metric("headrace_queue_tokens_total", model="m", kind="prompt") == 3


async def test_a_client_that_leaves_while_it_waits_is_forgotten(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m") as worker:
        gone, stays = queue.ask(), queue.ask()
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 2)
        gone.cancel()
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
        await worker.send(wire.Credit(n=2))
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await stays
        assert await worker.silent()


async def test_hand_back_puts_the_job_in_front(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as first:
        tasks = [queue.ask(user="1")]
        job = await first.expect(wire.Job)
        tasks.append(queue.ask(user="2"))
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
        await first.send(wire.HandBack(job=job.job, reason="test"))
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 2)
        async with V1Worker(queue.worker_url, "m", credit=2) as second:
            jobs = [await second.expect(wire.Job) for _ in tasks]
            assert [again.openai_req["user"] for again in jobs] == ["1", "2"]
            for again in jobs:
                await second.result(again, body=PLAIN)
            await asyncio.gather(*tasks)
    assert queue.metric("headrace_queue_handbacks_total", model="m") == 1
    (line,) = [line for line in queue.logged() if line["event"] == "handed back"]
    assert (line["request_id"], line["reason"], line["worker"]) == (job.request_id, "test", "fake")


async def test_a_rollout_of_many_workers_loses_nothing(start: Start) -> None:
    queue = await start(max_attempts=2, models=("m",))
    task = queue.ask()
    for _ in range(4):
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            job = await worker.expect(wire.Job)
            await worker.send(wire.Drain(reason="rollout"))
            await worker.send(wire.HandBack(job=job.job, reason="rollout"))
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
    await task


async def test_a_request_that_crashes_engines_is_not_tried_for_ever(start: Start) -> None:
    queue = await start(max_attempts=2, models=("m",))
    task = queue.ask()
    for _ in range(2):
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            job = await worker.expect(wire.Job)
            await worker.send(wire.Drain(reason="the engine was killed by SIGSEGV"))
            await worker.send(wire.HandBack(job=job.job, reason="the engine was lost", failed=True))
            await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1 or task.done())
    with pytest.raises(openai.InternalServerError, match="2 workers took the request"):
        await task


async def test_drained_worker_gets_nothing_and_finishes(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        under_way = queue.ask()
        job = await worker.expect(wire.Job)
        await worker.send(wire.Drain(reason="scale-down"))
        await worker.send(wire.Credit(n=5))
        await eventually(lambda: not queue.server.dispatcher.schedule.has_dedicated("m"))
        with pytest.raises(openai.NotFoundError):
            await queue.ask()
        await worker.result(job, body=PLAIN)
        await under_way


async def test_death_before_the_first_piece_is_silent(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as first, V1Worker(queue.worker_url, "m") as second:
        task = queue.ask()
        await first.expect(wire.Job)
        first.die()
        await second.send(wire.Credit(n=1))
        await second.result(await second.expect(wire.Job), body=PLAIN)
        await task
    await eventually(lambda: queue.metric("headrace_queue_worker_disconnects_total", protocol="headrace.v1") == 2)


async def test_a_half_dead_worker_is_found(start: Start) -> None:
    queue = await start(heartbeat_seconds=0.2)
    async with V1Worker(queue.worker_url, "m", credit=1) as first, V1Worker(queue.worker_url, "m") as second:
        task = queue.ask()
        await first.expect(wire.Job)
        first.socket.transport.pause_reading()
        await second.send(wire.Credit(n=1))
        await second.result(await second.expect(wire.Job), body=PLAIN)
        await task
        first.die()


async def test_death_within_an_unstreamed_answer_is_silent_too(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as first, V1Worker(queue.worker_url, "m") as second:
        task = queue.ask()
        await first.pieces(((await first.expect(wire.Job)).job, b'{"half'))
        first.die()
        await second.send(wire.Credit(n=1))
        await second.result(await second.expect(wire.Job), body=PLAIN)
        assert (await task).choices == []


async def test_death_after_the_first_piece_ends_the_stream_with_an_error(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        await worker.pieces(((await worker.expect(wire.Job)).job, chunk("The Los")))
        stream = aiter(await task)
        assert (await anext(stream)).choices[0].delta.content == "The Los"
        worker.die()
        with pytest.raises(openai.APIError, match="lost in the middle"):
            await anext(stream)
    await eventually(lambda: any(line.get("status") == 502 for line in queue.logged()))


async def test_a_result_that_fails_after_pieces_ends_the_stream_with_an_error(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("The")))
        stream = aiter(await task)
        await anext(stream)
        await worker.result(job, status=500)
        with pytest.raises(openai.APIError, match="lost in the middle"):
            await anext(stream)


async def test_an_engines_error_reaches_the_client(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        error = {"message": "the prompt is too long", "type": "invalid_request_error", "param": None, "code": None}
        await worker.result(await worker.expect(wire.Job), status=400, body={"error": error})
        with pytest.raises(openai.BadRequestError, match="too long"):
            await task


@pytest.mark.parametrize("body", [None, {"choices": 7}, {"error": "no"}])
async def test_an_error_without_a_shape_gets_one(queue: Queue, body: dict[str, object] | None) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        await worker.result(await worker.expect(wire.Job), status=500, body=body)
        with pytest.raises(openai.InternalServerError) as error:
            await task
    assert isinstance(error.value.body, dict)
    assert error.value.body["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (400, {"message": "too long"}, {"type": "invalid_request_error", "param": None, "code": None}),
        (429, {"message": "too long", "type": None}, {"type": "rate_limit_error"}),
        (400, {"message": "too long", "code": 400, "n_ctx": 5}, {"code": 400, "n_ctx": 5}),
        (
            500,
            {"message": ["too long"], "param": 7, "type": True, "code": {}},
            {"message": "['too long']", "param": "7"},
        ),
        (500, {"code": True}, {"type": "server_error", "code": "True"}),
    ],
)
async def test_an_engines_error_gets_what_it_lacks_and_keeps_what_it_has(
    queue: Queue, status: int, error: dict[str, Any], told: dict[str, Any]
) -> None:
    schema = openapi.document()["components"]["schemas"]["Error"]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    async with V1Worker(queue.worker_url, "m", credit=1) as worker, RawClient(queue.server.port) as client:
        client.post(body)
        await worker.result(await worker.expect(wire.Job), status=status, body={"error": error, "beside": 1})
        answer = await client.response()
    assert answer.status == status
    whole = json.loads(answer.body)
    jsonschema.validate(whole, schema)
    assert whole["beside"] == 1
    assert whole["error"].items() >= told.items()


async def test_what_comes_back_while_the_queue_drains_is_refused_at_once(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        tasks = [queue.ask() for _ in range(2)]
        jobs = [await worker.expect(wire.Job) for _ in tasks]
        drained = asyncio.create_task(queue.server.drain())
        await worker.expect(wire.Drain)
        await worker.send(wire.HandBack(job=jobs[0].job, reason="test"))
        worker.die()
        for task in tasks:
            with pytest.raises(openai.InternalServerError, match="stopping"):
                await task
        await drained


async def test_so_many_attempts_and_no_more(start: Start) -> None:
    queue = await start(max_attempts=2, models=("m",))
    task = queue.ask()
    for _ in range(2):
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            await worker.expect(wire.Job)
            worker.die()
    with pytest.raises(openai.InternalServerError, match="2 workers") as caught:
        await task
    assert caught.value.status_code == 502


@pytest.mark.slow
async def test_a_result_sent_again_is_acknowledged_and_counted_once(queue: Queue) -> None:
    usage = wire.Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        await worker.result(job, usage=usage, body=PLAIN)
        await task
    lost = wire.Job(job=job.job, request_id="of a former queue", openai_url="", openai_req={})
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        for _ in range(2):
            await worker.result(job, usage=usage, body=PLAIN)
            await worker.result(lost, usage=usage)
        task = queue.ask()
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task
    assert queue.metric("headrace_queue_tokens_total", model="m", kind="prompt") == 6


async def test_a_former_result_does_not_end_a_new_job(queue: Queue) -> None:
    """The request whose connection broke is given out again; then the first attempt's result arrives."""
    async with V1Worker(queue.worker_url, "m", credit=1) as first:
        task = queue.ask()
        old = await first.expect(wire.Job)
        first.die()
    async with V1Worker(queue.worker_url, "m", credit=1) as again:
        new = await again.expect(wire.Job)
        assert new.request_id == old.request_id
        await again.send(wire.Result(job=old.job, request_id=old.request_id, status=499))
        assert await again.silent(), "it is acknowledged when the request's row is written"
        assert not task.done()
        await again.result(new, body=PLAIN)
        assert (await again.expect(wire.Ack)).request_id == old.request_id
        await task


async def test_a_wrong_token_is_refused_before_the_upgrade(start: Start) -> None:
    queue = await start(worker_token="right")
    for token in (None, "wrong", "right and more"):
        with pytest.raises(Exception, match="401"):
            await V1Worker(queue.worker_url, "m", token=token).__aenter__()
    async with V1Worker(queue.worker_url, "m", token="right"):
        pass


LYING = '{"type": "result", "job": 1, "request_id": "x", "usage": {"completion_tokens": -1}}'


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{}", "type"),
        ('{"type": "credit", "n": 0}', "credit.n"),
        (b"\x00\x00", "ends within"),
        (REGISTER_AGAIN.model_dump_json(), "registers once"),
        ('{"type": "result", "job": 1, "request_id": "x", "status": -1}', "result.status"),
        ('{"type": "result", "job": 1, "request_id": "x", "gpu_seconds": -1}', "result.gpu_seconds"),
        (LYING, "result.usage.completion_tokens"),
    ],
)
async def test_a_malformed_frame_closes_the_connection_with_a_reason(
    queue: Queue, frame: str | bytes, reason: str
) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        await worker.expect(wire.Job)
        await worker.socket.send(frame)
        await worker.socket.wait_closed()
        assert worker.socket.close_code == 1002
        assert reason in (worker.socket.close_reason or "")
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task


async def test_a_registration_without_models_is_refused(queue: Queue) -> None:
    worker = V1Worker(queue.worker_url, "m")
    worker._register = worker._register.model_copy(update={"models": []})
    with pytest.raises(Exception, match=r"4400.*models"):
        await worker.__aenter__()


async def test_a_whole_body_for_a_client_that_wants_a_stream(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        good = queue.ask(stream=True)
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "length"}
        await worker.result(await worker.expect(wire.Job), body={**PLAIN, "choices": [choice]})
        chunks = [each async for each in await good]
        assert "".join(each.choices[0].delta.content or "" for each in chunks) == "hi"
        assert chunks[-1].choices[0].finish_reason == "length"
        bad = queue.ask(stream=True)
        await worker.result(await worker.expect(wire.Job))
        with pytest.raises(openai.InternalServerError, match="cannot be used"):
            await bad


async def test_a_whole_completion_for_a_client_that_wants_a_stream(queue: Queue) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    create: Any = partial(queue.client.completions.create, model="m", prompt="x", stream=True)
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        good = asyncio.create_task(create(stream_options={"include_usage": True}))
        choices = [
            {"index": 0, "text": "hi", "finish_reason": "length"},
            {"text": "ho", "logprobs": {"tokens": ["ho"]}},
        ]
        await worker.result(await worker.expect(wire.Job), body={"id": "7", "choices": choices, "usage": usage})
        *chunks, last = [each async for each in await good]
        assert {(each.id, each.object, each.model) for each in [*chunks, last]} == {("7", "text_completion", "m")}
        said = [(each.choices[0].index, each.choices[0].text, each.choices[0].finish_reason) for each in chunks]
        assert said == [(0, "hi", "length"), (1, "ho", "stop")]
        assert chunks[1].choices[0].logprobs.tokens == ["ho"]
        assert (last.choices, last.usage.total_tokens) == ([], 3)
        bad = asyncio.create_task(create())
        await worker.result(await worker.expect(wire.Job), body={"choices": [{"message": {"content": "hi"}}]})
        with pytest.raises(openai.InternalServerError, match="not an object with a `text`"):
            await bad
