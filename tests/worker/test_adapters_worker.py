"""Whole workers with an engine that takes adapters while it runs, and the store that adapters come from."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from headrace_api.wire import Credit, HandBack, Register, Registered, Report, Result, Serving
from headrace_api.worker_config import Adapter, Generator
from headrace_worker.adapters import keeper, loaders, routes
from headrace_worker.adapters.fetches import FetchAdapter, Local
from headrace_worker.adapters.look import AdapterError, Here
from headrace_worker.adapters.part import WithAdapters
from headrace_worker.decision import Decision
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import EngineCommand, EngineFacts, text_api
from headrace_worker.engines.vllm import VllmAdapters
from headrace_worker.parts import OnProgress
from headrace_worker.status import Progress
from headrace_worker.store.part import ModelStore
from tests.waiting import until
from tests.worker import adapter_engine, lora_files
from tests.worker.living import Living, living
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import Connection, ScriptedQueue

pytestmark = pytest.mark.slow

ADAPTED = replace(text_api(), adapters=VllmAdapters())


def decide(chosen: Chosen, facts: EngineFacts) -> Decision:
    command = EngineCommand([sys.executable, adapter_engine.__file__, str(facts.port)])
    known = routes.routes("m", takes_adapters=True, started_with=(), dialect=ADAPTED.adapters)
    return Decision(chosen.engine, chosen.generator, command, facts.port, slots=4, routes=known, api=ADAPTED)


@contextlib.asynccontextmanager
async def adapted(
    folder: Path, queue: ScriptedQueue, adapters: Sequence[Adapter], fetch_adapter: FetchAdapter | None = None
) -> AsyncIterator[tuple[Living, Connection]]:
    """A worker whose generator section asks for these, connected to the queue before it has fetched anything."""
    go_on = asyncio.Event()

    async def fetch(generator: Generator, _: OnProgress, /) -> Generator:
        await go_on.wait()
        return generator.model_copy(update={"adapters": list(adapters)})

    store = ModelStore({"HF_HUB_CACHE": str(folder / "hub")})
    part = WithAdapters("m", None, fetch_adapter or store.adapter)
    async with living(folder, queue.url, fetch=fetch, decide=decide, adapters=part) as worker:
        connection = await queue.connection()
        assert (await connection.expect(Register)).adapters == []
        await connection.send(Registered())
        go_on.set()
        yield worker, connection


async def test_a_worker_that_is_started_anew_is_ready_with_its_adapters(tmp_path: Path, queue: ScriptedQueue) -> None:
    legal = Adapter(name="legal", source=str(lora_files.folder(tmp_path / "legal")))
    for _ in range(2):
        async with adapted(tmp_path, queue, [Adapter(name="gone", source="/nowhere"), legal]) as (worker, connection):
            assert (await connection.expect(Serving)).models == ["m", "m:legal"]
            await connection.expect(Credit)  # the first: no job can have come before
            await connection.ask(1, "hello", model="m:legal")
            assert (await connection.expect(Result)).status == 200
            assert json.loads(connection.answers[1])["model"] == "m:legal"
            await connection.ack("request-1")
            await until(lambda: "the adapter gone: '/nowhere' is neither" in connection.reports[-1].detail)
            assert connection.reports[-1].state == "ready"
            page = (await worker.page("/metrics"))[1]
            assert 'headrace_worker_adapters{state="served"} 1.0' in page
            assert 'headrace_worker_adapters{state="failed"} 1.0' in page
            worker.sigterm()
            assert await worker.status() == 0


async def test_the_adapters_of_its_file_are_announced_while_it_starts(tmp_path: Path, queue: ScriptedQueue) -> None:
    """So that requests for them wait as those for the model do; what it does not get is taken back."""
    legal = Adapter(name="legal", source=str(lora_files.folder(tmp_path / "legal")))
    wanted = [legal, Adapter(name="gone", source="/nowhere")]
    part = WithAdapters("m", None, ModelStore({"HF_HUB_CACHE": str(tmp_path / "hub")}).adapter)
    go_on = asyncio.Event()

    async def fetch(generator: Generator, _: OnProgress, /) -> Generator:
        await go_on.wait()
        return generator

    async with living(tmp_path, queue.url, fetch=fetch, decide=decide, adapters=part, wanted=wanted):
        connection = await queue.connection()
        register = await connection.expect(Register)
        assert (register.models, register.state) == (["m", "m:legal", "m:gone"], "fetching")
        assert register.adapters == ["m:legal", "m:gone"]
        await connection.send(Registered())
        go_on.set()
        assert (await connection.expect(Serving)).models == ["m", "m:legal"]
        await connection.expect(Credit)


async def test_a_job_for_an_adapter_that_has_gone_is_handed_back(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with adapted(tmp_path, queue, [Adapter(name="gone", source="/nowhere")]) as (_, connection):
        await connection.expect(Credit)
        await connection.ask(1, "hello", model="m:gone")
        assert "no model 'm:gone'" in (await connection.expect(HandBack)).reason
        assert (await connection.expect(Credit)).n == 1
        await connection.ask(2, "hello", model="m")
        assert (await connection.expect(Result)).status == 200


async def test_adapters_on_their_way_are_reported_and_left_out_in_the_end(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PATIENCE_S", 0.5)

    async def never(_: str, progress: Callable[[Progress], None], /) -> Local:
        progress(Progress("adapter_model.safetensors", 3, 14))
        await asyncio.Event().wait()
        raise AssertionError

    late = [Adapter(name="late", source="s3://dead/late")]
    async with adapted(tmp_path, queue, late, never) as (_, connection):
        await connection.expect(Credit)
        await until(lambda: connection.reports[-1].state == "ready")
    on_its_way = Report(state="fetching", detail="adapters: late", done_bytes=3, total_bytes=14)
    assert on_its_way in connection.reports
    assert "the adapter late: no byte of it has come for 0.5 s" in connection.reports[-1].detail


async def test_an_engine_that_does_not_answer_is_not_waited_for(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has loaded after all is unloaded before the next attempt: it takes a name once."""
    monkeypatch.setattr(loaders, "ANSWER_S", 0.05)
    asked: list[str] = []

    class Slow(EngineClient):
        async def call(self, call):  # type: ignore[no-untyped-def]
            asked.append(call.path.rpartition("/")[2])
            if len(asked) == 1:
                await asyncio.Event().wait()
            return 200, ""

    async with aiohttp.ClientSession() as session:
        loader = loaders.WhileRunning(Slow(session, engine.url, Dialect("m")), VllmAdapters())
        here = Here(Adapter(name="one", source="/one"), Path("/one"))
        with pytest.raises(AdapterError, match=r"did not answer within 0\.05 s"):
            await loader.load("m:one", here)
        await loader.load("m:one", here)
        await loader.unload("m:one")
        await loader.load("m:one", here)
    assert asked == [f"{what}_lora_adapter" for what in ("load", "unload", "load", "unload", "load")]


async def test_a_fetched_adapter_is_held_until_it_is_closed(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--lora"
    lora_files.folder(cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    store = ModelStore({"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    shown: list[Progress] = []

    def held() -> int:
        opened = Path("/proc/self/fd").iterdir()
        return sum(1 for one in list(opened) if one.is_symlink() and str(tmp_path) in str(one.readlink()))

    before = held()
    fetched = [await store.adapter("org/lora", shown.append) for _ in range(3)]
    assert {one.path for one in fetched} == {cache / "snapshots" / "abc"}
    assert held() == before + 3
    for one in fetched:
        one.close()
    assert held() == before
