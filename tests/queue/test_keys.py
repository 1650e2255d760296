"""Keys as clients meet them: who gets in, to which models, with which limits, and what they are told."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from queue_setup import DONE, PLAIN, Queue, Start, chunk, eventually
from raw_http import RawClient
from sqlalchemy import event
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.keys import service as key_service
from headrace_queue.keys import store
from headrace_queue.keys.key_file import Watched, read
from headrace_queue.keys.service import KeyService
from headrace_queue.keys.settings import KeySettings
from headrace_queue.keys.tables import KEYS

ADMIN = "the-admin-key-of-this-test"
SETTINGS = KeySettings(admin_key=ADMIN)


async def manage(queue: Queue, method: str, path: str = "", body: Any = None, key: str = ADMIN) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    async with queue.http.request(method, f"{queue.admin_url}/keys{path}", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def create(queue: Queue, **rights: Any) -> tuple[str, str]:
    """The new key and its id."""
    status, made = await manage(queue, "POST", body=rights)
    assert status == 201, made
    return made["key"], made["info"]["id"]


def as_client(queue: Queue, key: str) -> Queue:
    queue.client.api_key = key
    return queue


async def answer(queue: Queue, worker: V1Worker, usage: wire.Usage | None = None, **more: Any) -> Any:
    task = queue.ask(**more)
    await worker.result(await worker.expect(wire.Job), body=PLAIN, usage=usage)
    return await task


async def test_without_keys_everybody_gets_in_and_with_the_first_one_nobody_without(start: Start) -> None:
    queue = await start(keys=SETTINGS)
    async with V1Worker(queue.worker_url, "m", credit=9) as worker:
        await answer(queue, worker)
        assert any(line["event"] == "anybody may use the queue: there are no keys" for line in queue.logged())
        key, key_id = await create(queue, name="team a")
        assert key.startswith(f"hr-{key_id}-")
        for wrong in ("none", key[:-1], f"hr-{key_id}-{'a' * 52}"):
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key") as caught:
                await as_client(queue, wrong).ask()
            assert caught.value.code == "invalid_api_key"
            assert key.rsplit("-", 1)[1] not in str(caught.value)
        async with queue.http.get(f"{queue.url}/v1/models") as models:
            assert (models.status, models.headers["www-authenticate"]) == (401, "Bearer")
        await answer(as_client(queue, key), worker)
    assert key.rsplit("-", 1)[1] not in queue.log.getvalue()


async def test_revoked_rotated_and_expired_keys_are_told_apart(start: Start) -> None:
    queue = await start(keys=SETTINGS)
    async with V1Worker(queue.worker_url, "m", credit=9) as worker:
        old, key_id = await create(queue)
        _, with_grace = await manage(queue, "POST", f"/{key_id}/rotate", {"graceSeconds": 60})
        await answer(as_client(queue, old), worker)
        await answer(as_client(queue, with_grace["key"]), worker)
        _, at_once = await manage(queue, "POST", f"/{key_id}/rotate")
        for gone in (old, with_grace["key"]):
            with pytest.raises(openai.AuthenticationError):
                await as_client(queue, gone).ask()
        await answer(as_client(queue, at_once["key"]), worker)
        status, revoked = await manage(queue, "DELETE", f"/{key_id}")
        assert (status, bool(revoked["revoked"])) == (200, True)
        with pytest.raises(openai.AuthenticationError, match=f"{key_id} has been revoked"):
            await as_client(queue, at_once["key"]).ask()
        expired, _ = await create(queue, expires="2020-01-01T00:00:00Z")
        with pytest.raises(openai.AuthenticationError, match="has expired"):
            await as_client(queue, expired).ask()
        assert (await manage(queue, "POST", f"/{key_id}/rotate"))[0] == 404
        assert (await manage(queue, "DELETE", "/nobody"))[1]["error"]["code"] == "key_not_found"


async def test_keys_and_what_they_used_today_outlive_a_restart(start: Start, tmp_path: Path) -> None:
    first = await start(keys=SETTINGS, data_folder=tmp_path / "data")
    key, key_id = await create(first, limits={"requestsPerDay": 2})
    async with V1Worker(first.worker_url, "m", credit=9) as worker:
        await answer(as_client(first, key), worker)
    await first.server.__aexit__()
    second = await start(keys=SETTINGS, data_folder=tmp_path / "data")
    async with V1Worker(second.worker_url, "m", credit=9) as worker:
        await answer(as_client(second, key), worker)
        with pytest.raises(openai.RateLimitError, match="requests per day: limit 2, used 2"):
            await as_client(second, key).ask()
    (listed,) = (await manage(second, "GET"))[1]["keys"]
    assert (listed["id"], listed["limits"]["requestsPerDay"], listed["source"]) == (key_id, 2, "database")


async def test_a_queue_that_was_killed_leaves_the_next_one_what_it_did_not_use(start: Start, tmp_path: Path) -> None:
    first = await start(keys=SETTINGS, data_folder=tmp_path / "data")
    key, _ = await create(first, limits={"requestsPerMinute": 3})
    async with V1Worker(first.worker_url, "m", credit=9) as worker:
        await answer(as_client(first, key), worker)
    await first.server.keys.refresh()
    second = await start(keys=SETTINGS, data_folder=tmp_path / "data")  # the first one does not say that it stops
    async with V1Worker(second.worker_url, "m", credit=9) as worker:
        for _ in range(2):
            await answer(as_client(second, key), worker)
        with pytest.raises(openai.RateLimitError, match="requests per minute: limit 3, used 3"):
            await as_client(second, key).ask()


async def test_a_key_has_a_right_to_some_models(start: Start) -> None:
    queue = await start(keys=SETTINGS, models=("llama", "llama:x", "mistral", "org/m"))
    key, key_id = await create(queue, models=["llama*", "org/*"])
    as_client(queue, key)
    assert [model.id async for model in await queue.client.models.list()] == ["llama", "llama:x", "org/m"]
    with pytest.raises(openai.NotFoundError):
        await queue.client.models.retrieve("mistral")
    for name in ("mistral", "unheard-of"):
        with pytest.raises(openai.PermissionDeniedError, match=f"{key_id} has no right to the model '{name}'"):
            await queue.ask(name)
    with pytest.raises(openai.NotFoundError, match="Models that do: llama, llama:x, org/m"):
        await queue.ask("llama-unheard-of")
    async with queue.http.post(f"{queue.url}/tokenize", json={"model": "llama", "prompt": "x"}) as refused:
        assert refused.status == 401


async def test_a_right_to_a_model_is_one_to_its_aliases_and_not_the_other_way_round(start: Start) -> None:
    queue = await start(keys=SETTINGS, models=("org/m", "n"), aliases=(("gpt", "org/m"), ("n2", "n")))
    by_alias, by_model = (await create(queue, models=["gpt"]))[0], (await create(queue, models=["org/*"]))[0]
    as_client(queue, by_alias)
    assert [model.id async for model in await queue.client.models.list()] == []
    with pytest.raises(openai.NotFoundError, match="Models that do: none yet"):
        await queue.client.models.retrieve("gpt")
    with pytest.raises(openai.PermissionDeniedError):
        await queue.ask("gpt")
    as_client(queue, by_model)
    async with V1Worker(queue.worker_url, "org/m", credit=1) as worker:
        assert [model.id async for model in await queue.client.models.list()] == ["gpt", "org/m"]
        assert (await queue.client.models.retrieve("gpt")).id == "gpt"
        with pytest.raises(openai.NotFoundError, match=r"Models that do: gpt, org/m\."):
            await queue.client.models.retrieve("n2")
        await answer(queue, worker, model="gpt")


async def test_limits_are_told_before_and_when_they_are_reached(start: Start) -> None:
    queue = await start(keys=SETTINGS)
    key, _ = await create(queue, limits={"requestsPerMinute": 2, "tokensPerMinute": 10_000})
    as_client(queue, key)
    async with V1Worker(queue.worker_url, "m", credit=9) as worker:
        told = []
        for _ in range(2):
            task = asyncio.create_task(
                queue.client.chat.completions.with_raw_response.create(
                    model="m", messages=[{"role": "user", "content": "x"}]
                )
            )
            await worker.result(
                await worker.expect(wire.Job), body=PLAIN, usage=wire.Usage(prompt_tokens=50, completion_tokens=50)
            )
            told.append((await task).headers)
        assert [each["x-ratelimit-remaining-requests"] for each in told] == ["1", "0"]
        assert told[0]["x-ratelimit-limit-tokens"] == "10000"
        assert int(told[1]["x-ratelimit-remaining-tokens"]) <= 9_900
        with pytest.raises(openai.RateLimitError, match="requests per minute: limit 2, used 2") as caught:
            await queue.ask()
    assert caught.value.code == "rate_limit_exceeded"
    headers = caught.value.response.headers
    assert 55 <= int(headers["retry-after"]) <= 61
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")


async def end_in_an_answer(queue: Queue, worker: V1Worker) -> None:
    await answer(queue, worker)


async def end_in_an_error(queue: Queue, worker: V1Worker) -> None:
    task = queue.ask()
    await worker.result(await worker.expect(wire.Job), status=500, body={"error": {"message": "x"}})
    with pytest.raises(openai.InternalServerError):
        await task


async def end_with_the_client(queue: Queue, worker: V1Worker) -> None:
    task = queue.ask()
    job = await worker.expect(wire.Job)
    task.cancel()
    await worker.expect(wire.Cancel)
    await worker.result(job, status=499)


async def end_before_it_began(queue: Queue, _: V1Worker) -> None:
    with pytest.raises(openai.NotFoundError):
        await queue.ask("unheard-of")


@pytest.mark.parametrize("end", [end_in_an_answer, end_in_an_error, end_with_the_client, end_before_it_began])
async def test_a_request_stops_counting_as_under_way_whatever_its_end(start: Start, end: Callable[..., Any]) -> None:
    queue = await start(keys=SETTINGS)
    key, key_id = await create(queue, limits={"concurrentRequests": 1})
    async with V1Worker(as_client(queue, key).worker_url, "m", credit=99) as worker:
        for _ in range(3):
            await end(queue, worker)
            (gauge,) = queue.server.keys.access._accounts[key_id].meter.gauges
            await eventually(lambda gauge=gauge: gauge.reserved == 0)  # type: ignore[misc]
        task = queue.ask()
        job = await worker.expect(wire.Job)
        with pytest.raises(openai.RateLimitError, match="requests at a time"):
            await queue.ask()
        await worker.result(job, body=PLAIN)
        await task


async def leave_at_the_last_event(client: RawClient, worker: V1Worker, job: wire.Job) -> None:
    await worker.pieces((job.job, chunk("x" * 900) + DONE))
    await client.head()
    while not (await client.chunk()).endswith(DONE):
        pass
    client.writer.transport.abort()


async def leave_before_the_last_event(client: RawClient, worker: V1Worker, job: wire.Job) -> None:
    await worker.pieces((job.job, chunk("x" * 900)))
    await client.head()
    client.writer.transport.abort()
    await worker.expect(wire.Cancel)


async def leave_before_the_first(client: RawClient, worker: V1Worker, _: wire.Job) -> None:
    client.writer.transport.abort()
    await worker.expect(wire.Cancel)


async def wait_no_longer(client: RawClient, worker: V1Worker, _: wire.Job) -> None:
    assert (await client.response()).status == 504
    await worker.expect(wire.Cancel)


async def ask_for_too_much(client: RawClient, worker: V1Worker, job: wire.Job) -> None:
    await worker.pieces((job.job, b"x" * 15_000), (job.job, b"x" * 15_000))
    assert (await client.response()).error["code"] == "answer_too_large"
    await worker.expect(wire.Cancel)


ASKED = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ENDS = [
    leave_at_the_last_event,
    leave_before_the_last_event,
    leave_before_the_first,
    wait_no_longer,
    ask_for_too_much,
]
STREAMED = (leave_at_the_last_event, leave_before_the_last_event)
SILENT = (leave_before_the_first, wait_no_longer)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("end", ENDS)
async def test_what_was_made_for_a_client_that_did_not_get_all_counts(
    start: Start, end: Callable[..., Any], counts: bool
) -> None:
    queue = await start(keys=SETTINGS, client_buffer_bytes=20_000)
    key, key_id = await create(queue, limits={"tokensPerMinute": 1000, "concurrentRequests": 1})
    body = ASKED | {"max_tokens": 900, "stream": end is not ask_for_too_much}
    headers = {"authorization": f"Bearer {key}"}
    if end is wait_no_longer:
        headers["x-headrace-deadline-seconds"] = "1"
    async with V1Worker(queue.worker_url, "m", credit=9) as worker, RawClient(queue.server.port) as client:
        client.post(body, **headers)
        job = await worker.expect(wire.Job)
        await end(client, worker, job)
        meter = queue.server.keys.access._accounts[key_id].meter
        tokens, running = meter.gauges
        await eventually(lambda: running.reserved == tokens.reserved == 0)
        estimated = tokens.used(time.time())
        assert 256 < estimated < 300, "what the worker has used meanwhile is not known yet"
        if counts:
            usage = wire.Usage(prompt_tokens=10, completion_tokens=900, total_tokens=910)
            await worker.result(job, status=499, usage=usage)
            if end in SILENT:
                assert tokens.used(time.time()) == 10, "tokens of which no byte has come are not believed"
                return
            assert tokens.used(time.time()) == 910
            async with RawClient(queue.server.port) as another:
                another.post(body, **headers)
                assert (await another.response()).error["code"] == "rate_limit_exceeded"
        else:
            worker.die()
            await eventually(lambda: not queue.server.dispatcher._rows.exchanges)
            told = 0 < tokens.used(time.time()) < estimated
            assert told if end in STREAMED else tokens.used(time.time()) == estimated


async def test_the_part_of_a_stream_that_nobody_counted_counts(start: Start) -> None:
    queue = await start(keys=SETTINGS)
    key, key_id = await create(queue, limits={"tokensPerMinute": 1000})
    async with (
        V1Worker(queue.worker_url, "m", credit=9, continues=True) as worker,
        RawClient(queue.server.port) as client,
    ):
        client.post(ASKED | {"stream": True}, authorization=f"Bearer {key}")
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x") * 400))
        await client.head()
        while not (await client.chunk()).endswith(chunk("x")):
            pass
        client.writer.transport.abort()
        await worker.expect(wire.Cancel)
        worker.die()
        await eventually(lambda: not queue.server.dispatcher._rows.exchanges)
    (tokens,) = queue.server.keys.access._accounts[key_id].meter.gauges
    await eventually(lambda: 400 < tokens.used(time.time()) < 420)


async def test_priority_and_deadline_go_to_the_call_within_the_right(start: Start) -> None:
    queue = await start(keys=SETTINGS, models=("m",))
    key, _ = await create(queue, priority=5, lowestPriority=-5, weight=3)
    as_client(queue, key)

    def waiting() -> list[Any]:
        return [each.call for each in queue.server.dispatcher._exchanges.values()]

    tasks = [queue.ask(extra_headers={"x-headrace-priority": "-5", "x-headrace-deadline-seconds": "7.5"}), queue.ask()]
    await eventually(lambda: len(waiting()) == 2)
    assert sorted((each.priority, each.deadline_s, each.weight) for each in waiting()) == [
        (-5, 7.5, 3.0),
        (5, None, 3.0),
    ]
    for header, value, error, words in (
        ("priority", "6", openai.PermissionDeniedError, "may ask for -5 to 5"),
        ("priority", "high", openai.BadRequestError, "'high': it must be a whole number"),
        ("priority", "1_0", openai.BadRequestError, "'1_0': it must be a whole number"),
        ("deadline-seconds", "1_0", openai.BadRequestError, "above 0"),
        ("deadline-seconds", "0", openai.BadRequestError, "above 0"),
        ("deadline-seconds", "nan", openai.BadRequestError, "above 0"),
    ):
        with pytest.raises(error, match=words):
            await queue.ask(extra_headers={f"x-headrace-{header}": value})
    for task in tasks:
        task.cancel()


async def look_often(service: KeyService) -> None:
    while True:
        service._look_at_file()
        await asyncio.sleep(0.01)


async def test_the_keys_file_is_followed_and_a_wrong_one_changes_nothing(start: Start, tmp_path: Path) -> None:
    def write(content: str) -> None:
        (tmp_path / "next").write_text(content)
        (tmp_path / "next").replace(tmp_path / "keys.yaml")

    one, two = "the-first-secret-of-a-team", "the-second-secret-of-a-team"
    write(f"keys: [{{id: team-a, key: {one}, limits: {{requestsPerMinute: 1000}}}}]")
    queue = await start(keys=KeySettings(file=tmp_path / "keys.yaml", admin_key=ADMIN), models=("m",))
    service = queue.server.keys
    looks = asyncio.create_task(look_often(service))
    as_client(queue, one)
    assert [model.id async for model in await queue.client.models.list()] == ["m"]
    assert (await manage(queue, "DELETE", "/team-a"))[1]["error"]["code"] == "key_of_file"
    write(f"keys: [{{id: team-a, key: {two}, limits: {{requestPerMinute: 1}}}}]")
    await eventually(lambda: any(line["event"] == "the keys stay as they were" for line in queue.logged()))
    assert "keys.0.limits.requestPerMinute" in queue.log.getvalue()
    assert [model.id async for model in await queue.client.models.list()] == ["m"]
    write(json.dumps({"keys": [{"id": "team-a", "key": two}]}))
    await eventually(lambda: service.access.ring.keys["team-a"].limits.requests_per_minute is None)
    with pytest.raises(openai.AuthenticationError):
        await queue.client.models.list()
    async with queue.http.post(f"{queue.url}/tokenize", data=b"no JSON") as refused:
        assert refused.status == 401, "before anything is read of what it sends"
    write("")
    await eventually(lambda: not service.access.ring.keys)
    with pytest.raises(openai.AuthenticationError):  # taking the last key away opens nothing
        await as_client(queue, two).client.models.list()
    looks.cancel()
    assert one not in queue.log.getvalue()
    assert two not in queue.log.getvalue()


NEWER = {"rights": json.dumps({"limits": {"imagesPerMinute": 1}})}


def write_as_newer(queue: Queue, key_id: str, **values: Any) -> None:
    """The row of a key as a version writes it that knows more limits than this one."""
    engine = queue.server.keys._engine
    assert engine is not None
    with engine.begin() as connection:
        changed = KEYS.update().where(KEYS.c.id == key_id)
        connection.execute(changed.values(revision=store.state(connection).revision + 1, **values))


async def test_a_row_that_cannot_be_read_costs_that_key_only(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_service, "_ALONE_SECONDS", 0.1)
    queue = await start(keys=SETTINGS, models=("m",))
    newer, newer_id = await create(queue, limits={"requestsPerMinute": 7})
    _, other_id = await create(queue)
    access = queue.server.keys.access
    write_as_newer(queue, newer_id, **NEWER)
    await queue.server.keys.transact(lambda connection: store.revoke(connection, other_id, time.time()))
    await eventually(lambda: access.ring.keys[other_id].info.revoked is not None)
    assert [model.id async for model in await as_client(queue, newer).client.models.list()] == ["m"]
    assert access.ring.keys[newer_id].limits.requests_per_minute == 7
    write_as_newer(queue, newer_id, **NEWER, revoked_at=time.time())
    await eventually(lambda: access.ring.keys[newer_id].info.revoked is not None)
    told = [line for line in queue.logged() if line["event"] == "a key cannot be read"]
    assert [(line["key"], "limits.imagesPerMinute" in line["error"]) for line in told] == [(newer_id, True)]


@pytest.mark.parametrize("values", [NEWER, {"secrets": "{}"}, {"secrets": '[{"sha512": "0"}]'}, {"secrets": "["}])
async def test_a_key_that_never_could_be_read_is_left_out_and_opens_nothing(
    start: Start, tmp_path: Path, values: dict[str, str]
) -> None:
    first = await start(keys=SETTINGS, data_folder=tmp_path / "data")
    key, key_id = await create(first)
    write_as_newer(first, key_id, **values)
    await first.server.__aexit__()
    second = await start(keys=SETTINGS, models=("m",), data_folder=tmp_path / "data")
    for given in (key, "none"):
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            await as_client(second, given).client.models.list()


@pytest.mark.parametrize("values", [NEWER, {"secrets": '[{"sha512": "0"}]'}])
async def test_a_key_that_cannot_be_read_can_be_revoked_and_is_not_rotated(
    start: Start, values: dict[str, str]
) -> None:
    queue = await start(keys=SETTINGS, models=("m",))
    key, key_id = await create(queue)
    write_as_newer(queue, key_id, **values)
    status, answer = await manage(queue, "POST", f"/{key_id}/rotate")
    assert (status, answer["error"]["code"]) == (409, "key_unreadable")
    status, answer = await manage(queue, "DELETE", f"/{key_id}")
    assert (status, answer["id"], bool(answer["revoked"])) == (200, key_id, True)
    with pytest.raises(openai.AuthenticationError):
        await as_client(queue, key).client.models.list()


async def test_following_the_keys_goes_on_after_an_error_that_nobody_expects(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_service, "_ALONE_SECONDS", 0.1)
    queue = await start(keys=SETTINGS)
    engine = queue.server.keys._engine
    assert engine is not None

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def events() -> list[str]:
        return [line["event"] for line in queue.logged()]

    event.listen(engine, "begin", fail, insert=True)
    await eventually(lambda: "limits stay divided as they are" in events())
    event.remove(engine, "begin", fail)
    await eventually(lambda: "limits are divided again" in events())
    assert events().count("keys and limits cannot be followed") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("keys: [", "no YAML or JSON at line 1"),
        ("keys: [{id: a, key: short}]", "keys.0.key"),
        ("[]", "KeyFile"),
        ("keys: [{id: a, key: aaaaaaaaaaaaaaaaaaaa}, {id: a, key: bbbbbbbbbbbbbbbbbbbb}]", "a is there more than once"),
    ],
)
async def test_a_queue_does_not_start_with_a_wrong_keys_file(
    start: Start, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(ValueError, match=words):
        await start(keys=KeySettings(file=tmp_path / "keys.yaml"))


async def test_keys_are_managed_by_those_who_have_the_admin_key_only(start: Start) -> None:
    queue, without = await start(keys=SETTINGS), await start()
    assert (await manage(queue, "GET", key="wrong"))[0] == 401
    assert (await manage(without, "GET"))[1]["error"]["code"] == "no_admin_key"
    status, wrong = await manage(queue, "POST", body={"limits": {"requestsPerMinute": 0}})
    assert (status, "limits.requestsPerMinute" in wrong["error"]["message"]) == (400, True)
    async with aiohttp.ClientSession() as http, http.get(f"{queue.url}/keys") as public:
        assert public.status == 404


async def test_keys_can_be_needed_before_there_is_one(start: Start) -> None:
    queue = await start(keys=KeySettings(required=True), models=("m",))
    with pytest.raises(openai.AuthenticationError):
        await queue.client.models.list()
    async with queue.http.post(f"{queue.url}/tokenize", data=b"no JSON") as refused:
        assert refused.status == 401, "before anything is read of what it sends"


def test_a_secret_that_the_kubelet_swaps_is_seen(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.yaml").write_text(f"keys: [{{id: {name}, key: a-secret-of-20-characters}}]")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    watched = Watched(tmp_path / "keys.yaml")
    assert not watched.changed()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert watched.changed()
    assert not watched.changed()
    assert [key.id for key in read(tmp_path / "keys.yaml").keys] == ["two"]
