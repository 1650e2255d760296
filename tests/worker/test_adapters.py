"""Adapters: what is wanted, what changes, what an engine is told, and a keeper with an engine in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.toml_file import ConfigError
from headrace_api.worker_config import Adapter, Generator, fingerprint
from headrace_worker.adapters import at_start, keeper
from headrace_worker.adapters.changes import changes
from headrace_worker.adapters.keeper import Keeper, Told
from headrace_worker.adapters.look import AdapterError, Here, NeedsRestartError, look
from headrace_worker.adapters.routes import Routes
from headrace_worker.adapters.wanted import Place
from headrace_worker.engines import unsupported
from headrace_worker.engines.protocol import EngineConfigError
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
    for adapter in todo.load:
        assert adapter.name not in loaded
        loaded[adapter.name] = adapter
    resting_now = {one.name for one in resting if one in wanted and one not in before}
    assert loaded == {one.name: one for one in wanted if one.name not in resting_now}


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
        self.too_late_for: set[str] = set()
        self.asked: list[str] = []

    async def load(self, name: str, here: Here, /) -> dict[str, Any]:
        self.asked.append(name)
        if name in self.too_late_for:
            raise NeedsRestartError("it needs a restart")
        if name in self.refuses:
            raise AdapterError("the engine answered 400: no")
        assert name not in self.loaded
        self.loaded[name] = str(here.path)
        return {"model": name}

    async def unload(self, name: str, /) -> None:
        if self.loaded.pop(name) == "keeps":
            raise AdapterError("no")


class Kept:
    """A keeper that runs."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "adapters.toml"
        self.sets = {name: lora_files.folder(folder / name, seed) for seed, name in enumerate(("one", "two"))}
        self.engine = MemoryEngine()
        self.routes = Routes("m", takes_adapters=True)
        self.told: list[Told] = []
        self.keeper = Keeper(Place(generator(adapters_file=str(self.file))), self.fetch, "m", "VLLMEngine")

    def adapter(self, name: str, of: str = "") -> Adapter:
        return Adapter(name=name, source=str(self.sets.get(of or name, f"/nowhere/{name}")))

    async def fetch(self, source: str) -> Path:
        if source.startswith("/nowhere"):
            raise AdapterError(f"{source!r} is not there")
        return Path(source)

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
        kept.file.write_text("not TOML at all")
        await asyncio.sleep(0.1)
        await kept.until_served("m:one")
        kept.file.unlink()
        await kept.until_served()


async def test_one_that_fails_is_told_and_tried_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.1)
    kept.engine.refuses = {"m:two"}
    written(kept.file, kept.adapter("gone"), kept.adapter("two"), kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
        told = kept.told[-1]
        assert set(told.failed) == {"gone", "two"}
        assert "the adapter two: the engine answered 400: no" in told.text
        assert "the adapter gone: '/nowhere/gone' is not there" in told.text
        kept.engine.refuses = set()
        await kept.until_served("m:one", "m:two")


async def test_one_that_needs_a_restart_is_told_apart_and_not_tried_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.01)
    kept.engine.too_late_for = {"m:two"}
    written(kept.file, kept.adapter("two"), kept.adapter("gone"))
    async with kept.keeping():
        await until(lambda: bool(kept.told) and bool(kept.told[-1].failed), 10)
        assert kept.told[-1] == Told((), {"gone": "'/nowhere/gone' is not there"}, {"two": "it needs a restart"})
        assert "the adapter two: it needs a restart" in kept.told[-1].text
        written(kept.file, kept.adapter("two"), kept.adapter("one"))
        await kept.until_served("m:one")
        assert kept.engine.asked == ["m:two", "m:one"]
        written(kept.file, kept.adapter("one"))
        await until(lambda: not kept.told[-1].restart, 10)


async def test_they_survive_the_engine(kept: Kept) -> None:
    written(kept.file, kept.adapter("one"))
    async with kept.keeping():
        await kept.until_served("m:one")
    kept.engine.loaded.clear()
    kept.routes.adapters.clear()
    kept.told.clear()
    async with kept.keeping():
        await kept.until_served("m:one")


async def test_what_is_there_before_the_start(kept: Kept) -> None:
    written(kept.file, kept.adapter("gone"), kept.adapter("one"))
    assert [here.adapter.name for here in await kept.keeper.before_start()] == ["one"]
    sets = generator(weight_set_directories=["/base", str(kept.sets["one"]), str(SAMPLE_MODEL)])
    with pytest.raises(EngineConfigError, match=r"sample-chat' cannot be served beside the first, because .* accepted"):
        await Keeper(Place(sets), kept.fetch, "m", "VLLMEngine").before_start()
