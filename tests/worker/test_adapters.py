"""Adapters: what is wanted, what changes, what an engine is told, and a keeper with an engine in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.toml_file import ConfigError
from headrace_api.worker_config import TAKES_ADAPTERS_WHILE_IT_RUNS, Adapter, EngineType, Generator, fingerprint
from headrace_worker import engines
from headrace_worker.adapters import at_start, fetches, keeper
from headrace_worker.adapters.changes import changes
from headrace_worker.adapters.keeper import Keeper
from headrace_worker.adapters.look import AdapterError, Here, NeedsRestartError, look
from headrace_worker.adapters.routes import Routes
from headrace_worker.adapters.told import Told
from headrace_worker.adapters.wanted import Place
from headrace_worker.engines import unsupported
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.status import Progress
from tests.waiting import until
from tests.worker import lora_files
from tests.worker.worker_process import GGUF, SAMPLE_MODEL

ONE, TWO = Adapter(name="one", source="/one"), Adapter(name="two", source="/two")


def generator(kind: str = "VLLMEngine", **more: Any) -> Generator:
    return Generator.model_validate({"type": kind, "model_id": "m", **more})


def written(path: Path, *adapters: Adapter, head: str = "") -> Path:
    table = "generator.adapters" if head else "adapters"
    path.write_text(head + "".join(f'[[{table}]]\nname = "{a.name}"\nsource = "{a.source}"\n' for a in adapters))
    return path


# ---- what is wanted


def test_adapters_are_read_again_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "adapters.toml"
    place = Place(generator(adapters_file=str(path), adapters=[ONE]))
    assert place.read() == (ONE,)
    written(path, TWO)
    assert place.read() == (ONE, TWO)
    other = Adapter(name="one", source="/other")
    written(path, other)
    assert place.read() == (other,)
    path.write_text("adapters = 3")
    with pytest.raises(ConfigError, match="adapters: 3 is not accepted"):
        place.read()
    written(path, ONE, other)
    with pytest.raises(ConfigError, match="two adapters called 'one'"):
        place.read()


def test_adapters_are_read_again_from_the_configuration(tmp_path: Path) -> None:
    head = 'edition = 1\n[generator]\ntype = "VLLMEngine"\nmodel_id = "m"\n'
    path = written(tmp_path / "worker_config.toml", ONE, head=head)
    place = Place(generator(adapters=[ONE]), path)
    assert place.read() == (ONE,)
    written(path, TWO, head=head)
    assert place.read() == (TWO,)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        place.read()
    assert Place(generator(adapters=[ONE])).read() == (ONE,)


def test_further_weight_sets_are_adapters() -> None:
    place = Place(generator(weight_set_directories=["/base", "/sets/polite", "/sets/rude"], adapters=[ONE]))
    assert place.read() == (
        Adapter(name="polite", source="/sets/polite"),
        Adapter(name="rude", source="/sets/rude"),
        ONE,
    )
    with pytest.raises(EngineConfigError, match="two folders are called 'a'"):
        Place(generator(weight_set_directories=["/base", "/x/a", "/y/a"])).read()
    with pytest.raises(EngineConfigError, match="'a b' cannot be an adapter's name"):
        Place(generator(weight_set_directories=["/base", "/x/a b"])).read()


def test_the_operator_knows_which_engines_take_adapters_while_they_run() -> None:
    kinds = [kind for kind in get_args(EngineType) if kind != "luminous"]
    takes = {kind for kind in kinds if engines.engine_for(kind).api(generator(kind)).adapters}
    assert takes == TAKES_ADAPTERS_WHILE_IT_RUNS


def test_adapters_are_no_part_of_the_fingerprint() -> None:
    plain = fingerprint(generator())
    assert fingerprint(generator(adapters=[ONE], adapters_file="/a")) == plain
    assert fingerprint(generator(max_total_tokens=5)) != plain


# ---- what changes

ADAPTERS = st.lists(st.builds(Adapter, name=st.sampled_from("abc"), source=st.sampled_from("xyz")), max_size=4).map(
    lambda found: tuple({one.name: one for one in found}.values())
)


@given(wanted=ADAPTERS, before=ADAPTERS, resting=ADAPTERS)
def test_changes_lead_from_what_is_loaded_to_what_is_wanted(
    wanted: tuple[Adapter, ...], before: tuple[Adapter, ...], resting: tuple[Adapter, ...]
) -> None:
    loaded = {one.name: one for one in before}
    todo = changes(wanted, loaded, resting)
    for name in todo.unload:
        del loaded[name]
    assert loaded.items() <= {one.name: one for one in before}.items()
    assert loaded.keys() <= {one.name for one in wanted}, "what nobody wants goes at once"
    for adapter in todo.load:
        assert loaded.get(adapter.name) != adapter
        loaded[adapter.name] = adapter
    resting_now = {one.name for one in resting if one in wanted and one not in before}
    former = {one.name: one for one in before if one.name in resting_now}
    assert loaded == former | {one.name: one for one in wanted if one.name not in resting_now}


# ---- what their files are


def test_what_a_folder_is(tmp_path: Path) -> None:
    here = look(ONE, lora_files.folder(tmp_path / "lora"), "VLLMEngine")
    assert (here.path, here.rank) == (tmp_path / "lora", lora_files.RANK)
    file = lora_files.gguf(tmp_path / "gguf" / "lora.gguf")
    assert look(ONE, file.parent, "LlamaCppEngine").path == file
    assert look(ONE, file, "LlamaCppEngine").path == file


@pytest.mark.parametrize(
    ("path", "engine", "words"),
    [
        (SAMPLE_MODEL, "VLLMEngine", "adapter_config.json cannot be read"),
        (GGUF, "LlamaCppEngine", "its general.type is None"),
        (SAMPLE_MODEL / "config.json", "LlamaCppEngine", "is not a GGUF file"),
        (SAMPLE_MODEL.parent, "LlamaCppEngine", "has 0 .gguf files"),
    ],
)
def test_what_is_no_adapter(path: Path, engine: str, words: str) -> None:
    with pytest.raises(AdapterError, match=words):
        look(ONE, path, engine)


def test_an_adapter_without_weights(tmp_path: Path) -> None:
    folder = lora_files.folder(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="it has none of adapter_model"):
        look(ONE, folder, "VLLMEngine")


# ---- what an engine is told when it starts


def test_vllm_is_started_so_that_it_takes_adapters() -> None:
    here = [Here(ONE, Path("/one"), 4), Here(TWO, Path("/two"), 40)]
    found = at_start.prepared(generator(adapters=[ONE]), "VLLMEngine", here)
    assert found.engine_kwargs == {"enable_lora": True, "max_lora_rank": 64, "max_loras": 2, "max_cpu_loras": 16}
    assert found.runtime_env.env_vars == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    few = at_start.prepared(generator(adapters_file="/a"), "VLLMEngine", ()).engine_kwargs
    assert (few["max_lora_rank"], few["max_loras"]) == (16, 1)
    own = {"max-loras": 20, "max_lora_rank": 8}
    kept = at_start.prepared(generator(adapters=[ONE], engine_kwargs=own), "VLLMEngine", here).engine_kwargs
    assert kept == {**own, "enable_lora": True, "max_cpu_loras": 20}


def test_without_adapters_nothing_is_changed() -> None:
    for kind in ("VLLMEngine", "LlamaCppEngine", "TRTLLMEngine"):
        assert at_start.prepared(generator(kind), kind, ()) == generator(kind)
    with pytest.raises(EngineConfigError, match=r"generator\.adapters: not accepted with TRTLLMEngine"):
        at_start.prepared(generator("TRTLLMEngine", adapters=[ONE]), "TRTLLMEngine", ())


@pytest.mark.parametrize("kind", ["TRTLLMEngine", "EmbeddingEngine"])
@pytest.mark.parametrize(
    "keys", [{"adapters": [ONE]}, {"adapters_file": "/a"}, {"weight_set_directories": ["/a", "/b"]}]
)
def test_engines_that_serve_one_set_of_weights(kind: str, keys: dict[str, Any]) -> None:
    with pytest.raises(EngineConfigError, match=f"not accepted with {kind}, which serves one set of weights"):
        unsupported.refuse(generator(kind, **keys))


def test_a_request_is_for_the_model_or_for_an_adapter() -> None:
    routes = Routes("m", {"lora": []}, {"m:one": {"model": "m:one"}}, takes_adapters=True)
    assert routes.fields("m:one") == {"model": "m:one"}
    assert routes.fields("m:gone") is None
    for other in ("m", "other", "other:Q4_K_M", None, 7):
        assert routes.fields(other) == {"lora": []}
    assert Routes("m").fields("m:Q4_K_M") == {}


# ---- the keeper


class MemoryEngine:
    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.refuses: set[str] = set()
        """Whole names, or paths."""
        self.too_late_for: set[str] = set()
        self.asked: list[str] = []
        self.keeps: set[str] = set()

    def check(self, here: Here, /) -> None:
        if here.adapter.name in self.too_late_for:
            raise NeedsRestartError("it needs a restart")

    async def load(self, name: str, here: Here, /) -> dict[str, Any]:
        self.asked.append(name)
        if {name, str(here.path)} & self.refuses:
            raise AdapterError("the engine answered 400: no")
        assert name not in self.loaded
        self.loaded[name] = str(here.path)
        return {"model": name}

    async def unload(self, name: str, /) -> None:
        if name in self.keeps:
            raise AdapterError("no")
        del self.loaded[name]


class Files:
    """Adapters on this machine that count how often they are held."""

    def __init__(self, folder: Path) -> None:
        self.sets = {name: lora_files.folder(folder / name, seed) for seed, name in enumerate(("one", "two"))}
        self.held: list[Path] = []
        self.silent = asyncio.Event()
        """What never comes waits for this."""
        self.steps = 0
        """How often a slow one says how far it is before it comes."""

    async def fetch(self, source: str, progress: Callable[[Progress], None], /) -> "Held":
        if source.startswith("/silent"):
            await self.silent.wait()
        if source.startswith("/nowhere"):
            raise AdapterError(f"{source!r} is not there")
        for step in range(self.steps):
            progress(Progress("adapter_model.safetensors", step + 1, self.steps))
            await asyncio.sleep(0.05)
        return Held(Path(source), self.held)


class Held:
    def __init__(self, path: Path, held: list[Path]) -> None:
        self.path = path
        self._held = held
        held.append(path)

    def close(self) -> None:
        self._held.remove(self.path)


class Kept:
    """A keeper that runs."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "adapters.toml"
        self.files = Files(folder)
        self.sets = self.files.sets
        self.engine = MemoryEngine()
        self.routes = Routes("m", takes_adapters=True)
        self.told: list[Told] = []
        self.shown: list[Progress] = []
        self.keeper = Keeper(Place(generator(adapters_file=str(self.file))), self.files.fetch, "m", "VLLMEngine")

    def adapter(self, name: str, of: str = "") -> Adapter:
        return Adapter(name=name, source=str(self.sets.get(of or name, f"/{of or 'nowhere'}/{name}")))

    async def before_start(self) -> list[str]:
        return [here.adapter.name for here in await self.keeper.before_start(self.shown.append)]

    @contextlib.asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.keep(self.engine, self.routes, self.told.append))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until_served(self, *names: str) -> None:
        await until(lambda: bool(self.told) and set(self.told[-1].served) == set(names), 10)
        assert set(self.routes.adapters) == set(names) == set(self.engine.loaded)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(keeper, "EVERY_S", 0.02)
    return Kept(tmp_path)


async def test_adapters_come_and_go(kept: Kept) -> None:
    written(kept.file, kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        written(kept.file, kept.adapter("one"), kept.adapter("two"))
        await kept.until_served("m:one", "m:two")
        written(kept.file, kept.adapter("one", of="two"))
        await until(lambda: kept.engine.loaded == {"m:one": str(kept.sets["two"])}, 10)
        await kept.until_served("m:one")
        assert kept.files.held == [kept.sets["two"]], "the former's files may go"
        kept.file.write_text("not TOML at all")
        await asyncio.sleep(0.1)
        await kept.until_served("m:one")
        kept.file.unlink()
        await kept.until_served()
        assert kept.files.held == []


async def test_one_that_fails_is_told_and_tried_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.1)
    kept.engine.refuses = {"m:two"}
    written(kept.file, kept.adapter("gone"), kept.adapter("two"), kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        await until(lambda: len(kept.told[-1].failed) == 2, 10)
        told = kept.told[-1]
        assert set(told.failed) == {"gone", "two"}
        assert "the adapter two: the engine answered 400: no" in told.text
        assert "the adapter gone: '/nowhere/gone' is not there" in told.text
        kept.engine.refuses = set()
        await kept.until_served("m:one", "m:two")


async def test_what_cannot_be_served_is_not_held(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.01)
    (kept.sets["two"] / "adapter_config.json").write_text("no JSON")
    kept.engine.refuses = {"m:refused"}
    written(kept.file, kept.adapter("refused", of="one"), kept.adapter("two"))
    async with kept.keeping():
        await until(lambda: kept.engine.asked.count("m:refused") >= 5, 10)
        assert len(kept.files.held) <= 2, "at most what is being looked at now"
    assert kept.files.held == []


async def test_one_that_needs_a_restart_is_told_apart_and_not_tried_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.01)
    kept.engine.too_late_for = {"two"}
    written(kept.file, kept.adapter("two"), kept.adapter("gone"))
    async with kept.keeping():
        both = Told((), {"gone": "'/nowhere/gone' is not there"}, {"two": "it needs a restart"})
        await until(lambda: both in kept.told, 10)
        assert "the adapter two: it needs a restart" in both.text
        written(kept.file, kept.adapter("two"), kept.adapter("one"))
        await kept.until_served("m:one")
        assert kept.engine.asked == ["m:one"]
        assert kept.files.held == [kept.sets["one"]]
        written(kept.file, kept.adapter("one", of="two"))
        kept.engine.too_late_for = {"one"}
        await until(lambda: "one" in kept.told[-1].restart, 10)
        assert kept.engine.loaded == {"m:one": str(kept.sets["one"])}, "the former is served on"
        written(kept.file, kept.adapter("one"))
        await until(lambda: not kept.told[-1].restart, 10)


async def test_a_mistyped_source_leaves_the_working_adapter_in_service(kept: Kept) -> None:
    written(kept.file, kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        del kept.told[:]
        written(kept.file, kept.adapter("one", of="nowhere"))
        await until(lambda: bool(kept.told) and "one" in kept.told[-1].failed, 10)
        assert all(told.served == ("m:one",) for told in kept.told), "not for a moment"
        assert kept.told[-1].failed["one"].endswith(f"until then it is served from {kept.sets['one']}")
        assert kept.engine.asked == ["m:one"]


@pytest.mark.parametrize("trouble", ["refuses", "keeps"])
async def test_an_adapter_that_the_engine_does_not_take_leaves_the_former(kept: Kept, trouble: str) -> None:
    written(kept.file, kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        kept.engine.refuses = {str(kept.sets["two"])} if trouble == "refuses" else set()
        kept.engine.keeps = {"m:one"} if trouble == "keeps" else set()
        written(kept.file, kept.adapter("one", of="two"))
        await until(lambda: "one" in kept.told[-1].failed, 10)
        await kept.until_served("m:one")
        assert kept.engine.loaded == {"m:one": str(kept.sets["one"])}
        assert kept.files.held == [kept.sets["one"]]


async def test_one_whose_source_does_not_answer_holds_up_no_other(kept: Kept) -> None:
    written(kept.file, kept.adapter("late", of="silent"), kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        written(kept.file, kept.adapter("late", of="silent"), kept.adapter("two"))
        await kept.until_served("m:two")
        assert kept.told[-1].failed == {}


@pytest.mark.slow
async def test_the_engines_start_waits_while_bytes_come_and_no_longer(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PATIENCE_S", 0.2)
    monkeypatch.setattr(fetches, "_SHOWN_S", 0.02)
    kept.files.steps = 8  # 0.4 s in all, and the others are waited for as long
    written(kept.file, *(kept.adapter(f"late-{number}", of="silent") for number in range(5)), kept.adapter("one"))
    assert await kept.before_start() == ["one"]
    assert kept.shown[0].detail == "adapters: late-0, late-1, late-2, late-3, late-4, one"
    assert kept.shown[-1].detail == "adapters: late-0, late-1, late-2, late-3, late-4"
    assert {(one.done_bytes, one.total_bytes) for one in kept.shown} >= {(1, 8), (7, 8)}
    told = await kept.keeper.load(kept.engine, kept.routes)
    assert told.served == ("m:one",)
    assert "the adapter late-4: no byte of it has come for 0.2 s" in told.text
    async with kept.keeping():
        await kept.until_served("m:one")
        assert kept.engine.asked == ["m:one"], "it is not fetched and loaded once more"


async def test_a_start_that_is_broken_off_holds_nothing(kept: Kept) -> None:
    written(kept.file, kept.adapter("one"), kept.adapter("late", of="silent"))
    starting = asyncio.create_task(kept.before_start())
    await until(lambda: kept.files.held == [kept.sets["one"]], 10)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(0)
    assert kept.files.held == []


async def test_what_is_there_before_the_start(kept: Kept) -> None:
    written(kept.file, kept.adapter("gone"), kept.adapter("one"))
    assert await kept.before_start() == ["one"]
    sets = generator(weight_set_directories=["/base", str(kept.sets["one"]), str(SAMPLE_MODEL)])
    with pytest.raises(EngineConfigError, match=r"sample-chat' cannot be served beside the first, because .* accepted"):
        await Keeper(Place(sets), kept.files.fetch, "m", "VLLMEngine").before_start(kept.shown.append)
