"""Models of the Hugging Face Hub, from a fake of it (`hub_server`)."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download
from tests.store.conftest import MIB, nothing
from tests.store.hub_server import COMMIT, HubServer
from tests.store.servers import content, free_port
from tests.store.test_store_buckets import tree

from headrace_api.worker_config import Generator
from headrace_worker.parts import PreparationError
from headrace_worker.store import request as requests
from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import Fetched, fetch
from headrace_worker.store.part import ModelStore
from headrace_worker.store.settings import StoreSettings

Make = Callable[..., StoreSettings]
REPOS = {
    "org/model": {
        "config.json": b'{"architectures": ["X"]}',
        "model.safetensors": content(3 * MIB + 5, 1),
        "pytorch_model.bin": content(MIB, 2),
        "original/consolidated.00.pth": content(MIB, 3),
        "onnx/model.onnx": content(2000, 4),
        "tokenizer.json": b"{}",
    },
    "TheBloke/CoolModelv2": {
        "README.md": b"#",
        "coolmodelv2.Q4_K_M.gguf": content(MIB, 5),
        "coolmodelv2.Q8_0.gguf": content(MIB, 6),
        "big/coolmodelv2-F16-00001-of-00002.gguf": content(2000, 7),
        "big/coolmodelv2-F16-00002-of-00002.gguf": content(2000, 8),
    },
}


async def got(settings: StoreSettings, **section: object) -> Fetched:
    generator = Generator.model_validate({"type": "VLLMEngine", "model_id": "name", **section})
    return await fetch(requests.of_generator(generator).model, settings, nothing)


async def test_a_repository_lands_as_a_snapshot_in_one_format(settings: Make) -> None:
    hub = HubServer(REPOS, token="secret")
    async with hub.running() as url:
        found = await got(settings(hub_endpoint=url, hub_token="secret"), hf_model_id="org/model")

    assert found.path == settings().cache / "models--org--model" / "snapshots" / COMMIT
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    assert tree(found.path) == {name: REPOS["org/model"][name] for name in wanted}
    assert (found.path.parents[1] / "refs/main").read_text() == COMMIT
    assert len(hub.ranges) > 4  # the large file in chunks
    assert set(hub.seen_by_storage) == {None}  # which is not shown the hub's token


@pytest.mark.parametrize(
    ("quant", "files"),
    [
        ("Q4_K_M", ["coolmodelv2.Q4_K_M.gguf"]),
        ("f16", ["big/coolmodelv2-F16-00001-of-00002.gguf", "big/coolmodelv2-F16-00002-of-00002.gguf"]),
    ],
)
async def test_a_quantisation_names_the_file(settings: Make, quant: str, files: list[str]) -> None:
    async with HubServer(REPOS).running() as url:
        found = await got(
            settings(hub_endpoint=url), type="LlamaCppEngine", hf_model_id=f"TheBloke/CoolModelv2:{quant}"
        )

    folder = settings().cache / "models--TheBloke--CoolModelv2" / "snapshots" / COMMIT
    assert found.path == folder / files[0]
    assert sorted(tree(folder)) == files


async def test_a_repository_with_several_gguf_files_is_refused_before_anything_is_fetched(settings: Make) -> None:
    hub = HubServer(REPOS)
    async with hub.running() as url:
        with pytest.raises(StoreError, match=r"Q4_K_M.*Q8_0"):
            await got(settings(hub_endpoint=url), type="LlamaCppEngine", hf_model_id="TheBloke/CoolModelv2")
    assert hub.ranges == []


async def test_a_dummy_start_fetches_no_weights(settings: Make) -> None:
    async with HubServer(REPOS).running() as url:
        found = await got(settings(hub_endpoint=url), hf_model_id="org/model", unstable={"skip_checkpoint_load": True})
    assert sorted(tree(found.path)) == ["config.json", "tokenizer.json"]


async def test_offline_the_cache_is_used_and_nobody_asked(settings: Make) -> None:
    async with HubServer(REPOS).running() as url:
        first = await got(settings(hub_endpoint=url), hf_model_id="org/model")
        away = settings(hub_endpoint=url, offline=True)
        with pytest.raises(StoreError, match="HF_HUB_OFFLINE is set"):
            await got(away, hf_model_id="org/other")
    unreachable = settings(hub_endpoint=f"http://127.0.0.1:{free_port()}")

    assert (await got(away, hf_model_id="org/model")).path == first.path
    assert (await got(unreachable, hf_model_id="org/model")).path == first.path


@pytest.mark.parametrize(("token", "says"), [("", "Repository Not Found"), ("wrong", "Repository Not Found")])
async def test_what_the_hub_says_is_told(settings: Make, token: str, says: str) -> None:
    async with HubServer(REPOS, token="secret").running() as url:
        with pytest.raises(StoreError, match=says) as raised:
            await got(settings(hub_endpoint=url, hub_token=token or None), hf_model_id="org/model")
    assert "org/model" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_what_the_hubs_own_library_has_fetched_is_adopted(settings: Make) -> None:
    """Its cache has the same layout, with links to blobs that are named by their hashes."""
    hub = HubServer(REPOS)
    async with hub.running() as url:
        env = settings(hub_endpoint=url)
        theirs = await asyncio.to_thread(
            snapshot_download, "org/model", endpoint=url, cache_dir=env.cache, ignore_patterns=["*.bin", "o*"]
        )
        hub.ranges.clear()
        found = await got(env, hf_model_id="org/model")

    assert str(found.path) == theirs
    assert hub.ranges == []


V1 = "1111111111111111111111111111111111111111"
OLD = {
    "config.json": b'{"auto_map": {"AutoModel": "own.Model"}}',
    "model.safetensors": b"old",
    "tokenizer.json": b"old",
}
ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"v1"}


async def loaded(settings: StoreSettings, **section: Any) -> Generator:
    """What the engine is given."""
    store = ModelStore({"HF_HUB_CACHE": str(settings.cache), "HF_ENDPOINT": settings.hub_endpoint or ""})
    generator = Generator.model_validate({"type": "VLLMEngine", "model_id": "name", **section})
    return await store(generator, lambda _: None)


@pytest.mark.parametrize(
    "section",
    [
        {"hf_model_id": "org/model", "engine_kwargs": {"revision": "refs/pr/1", "dtype": "auto"}},
        {"hf_model_id": "org/model@refs/pr/1", "engine_kwargs": {"dtype": "auto"}},
        {"hf_model_id": "org/model", "engine_kwargs": {"revision": V1, "dtype": "auto"}},
    ],
)
async def test_the_revision_that_is_asked_for_is_served(settings: Make, section: dict[str, Any]) -> None:
    async with HubServer(REPOS, revisions={"refs/pr/1": (V1, OLD)}).running() as url:
        found = await loaded(settings(hub_endpoint=url), **section)
        main = await got(settings(hub_endpoint=url), hf_model_id="org/model")
    unreachable = settings(hub_endpoint=f"http://127.0.0.1:{free_port()}")
    again = await got(unreachable, **section)

    assert tree(Path(found.source)) == OLD
    assert found.engine_kwargs == {"dtype": "auto"}
    assert tree(main.path)["model.safetensors"] == REPOS["org/model"]["model.safetensors"]
    model = main.path.parents[1]
    assert again.path == model / "snapshots" / V1
    refs = {path.relative_to(model / "refs").as_posix(): path.read_text() for path in model.rglob("refs/**/[m1]*")}
    assert refs == {"main": COMMIT} | ({"refs/pr/1": V1} if "refs/pr/1" in str(section) else {})


async def test_a_tokenizer_of_another_revision_is_fetched_beside_the_model(settings: Make) -> None:
    async with HubServer(REPOS, revisions={"v1": (V1, OLD)}).running() as url:
        found = await loaded(
            settings(hub_endpoint=url), hf_model_id="org/model", engine_kwargs={"tokenizer-revision": "v1"}
        )

    assert tree(Path(found.source))["tokenizer.json"] == b"{}"
    assert sorted(tree(Path(found.tokenizer_id or ""))) == ["config.json", "tokenizer.json"]
    assert (Path(found.tokenizer_id or "") / "tokenizer.json").read_bytes() == b"old"
    assert found.engine_kwargs == {}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"hf_model_id": "org/model", "engine_kwargs": {"revision": "none"}}, "Revision Not Found"),
        ({"hf_model_id": "org/model", "engine_kwargs": {"revision": "../x"}}, "revision: '../x' is not accepted"),
        ({"hf_model_id": "org/model@a", "engine_kwargs": {"revision": "b"}}, "org/model@a names another revision"),
        ({"hf_model_id": "/models/a", "engine_kwargs": {"revision": "v1"}}, "/models/a has no revisions"),
        ({"hf_model_id": "s3://b/f", "engine_kwargs": {"tokenizer_revision": "v1"}}, "s3://b/f has no revisions"),
        (
            {"tokenizer_path": "/t", "hf_model_id": "org/model", "engine_kwargs": {"tokenizer_revision": "v1"}},
            "tokenizer_revision: 'v1' is not accepted: /t has no revisions",
        ),
        (
            {"hf_model_id": "org/model@v1", "engine_kwargs": {"code_revision": "main"}},
            r"code_revision: 'main' is not accepted, because the model's code \(own.Model\) came with its weights",
        ),
    ],
)
async def test_a_revision_that_cannot_be_is_refused(settings: Make, section: dict[str, Any], says: str) -> None:
    async with HubServer(REPOS, revisions={"v1": (V1, OLD)}).running() as url:
        with pytest.raises(PreparationError, match=says):
            await loaded(settings(hub_endpoint=url), **section)


async def test_an_adapter_has_revisions(settings: Make) -> None:
    async with HubServer({"org/lora": {"main": b""}}, revisions={"v1": (V1, ADAPTER)}).running() as url:
        store = ModelStore({"HF_HUB_CACHE": str(settings().cache), "HF_ENDPOINT": url})
        assert tree((await store.adapter("org/lora@v1", lambda _: None)).path) == ADAPTER
