"""Keys for buckets: made by a service, from the section's own environment, or none."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.store import servers
from tests.store.conftest import nothing
from tests.store.test_store_buckets import mirrored, tree

from headrace_api.worker_config import Generator
from headrace_worker.parts import PreparationError
from headrace_worker.store import credentials
from headrace_worker.store.errors import AttemptError, StoreError
from headrace_worker.store.fetch import fetch
from headrace_worker.store.part import ModelStore
from headrace_worker.store.settings import StoreSettings

Make = Callable[..., StoreSettings]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET}


@contextlib.asynccontextmanager
async def key_service(answer: Any, status: int = 200) -> AsyncIterator[tuple[str, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []

    async def answers(request: web.Request) -> web.Response:
        asked.append((request.method, request.headers.get("Authorization")))
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_route("*", "/keys", answers)
    runner, port = web.AppRunner(app), servers.free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/keys", asked
    finally:
        await runner.cleanup()


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.mark.slow
@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("token", [None, "abc"])
async def test_keys_come_from_the_service(s3: servers.S3, settings: Make, token: str | None) -> None:
    s3.put("models", {"keys/a": b"x"})
    async with key_service(GOOD) as (url, asked):
        config = {"create_aws_credentials_url": url} | ({"auth_token_env_variable": "MY_TOKEN"} if token else {})
        env = settings(s3_endpoint=s3.url, environment={"MY_TOKEN": token or ""})
        found = await fetch(mirrored("s3://models/keys", s3_aws_credentials=config), env, nothing)

    assert tree(found.path) == {"a": b"x"}
    assert set(asked) == {("POST", f"Bearer {token}" if token else None)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ({"message": "no"}, 403, "gave no keys: it answered 403"),
        ({"AWS_ACCESS_KEY_ID": "secret-id"}, 200, "gave no keys: .*AWS_SECRET_ACCESS_KEY"),
        (["secret-id"], 200, "gave no keys: its answer is no JSON object"),
        ({}, 503, "gave no keys: it answered 503"),
    ],
)
async def test_a_service_without_keys_is_named(
    s3: servers.S3, settings: Make, answer: Any, status: int, says: str
) -> None:
    async with key_service(answer, status) as (url, _):
        request = mirrored("s3://models/keys", s3_aws_credentials={"create_aws_credentials_url": url})
        with pytest.raises(StoreError, match=says) as raised:
            await fetch(request, settings(s3_endpoint=s3.url), nothing)
    assert "create_aws_credentials_url" in str(raised.value)
    assert "secret-id" not in str(raised.value)


@pytest.mark.slow
async def test_a_token_that_is_not_set_is_named(s3: servers.S3, settings: Make) -> None:
    config = {"create_aws_credentials_url": "http://localhost:9", "auth_token_env_variable": "MY_TOKEN"}
    with pytest.raises(StoreError, match="the environment variable MY_TOKEN is not set"):
        await fetch(mirrored("s3://b/f", s3_aws_credentials=config), settings(s3_endpoint=s3.url), nothing)


def test_keys_expire() -> None:
    later = {"AWS_CREDENTIAL_EXPIRATION": "2026-01-01T05:00:00Z"}
    assert credentials.from_answer(GOOD | later, NOW)["expires_at"] == NOW + timedelta(hours=5)
    assert credentials.from_answer(GOOD, NOW)["expires_at"] == NOW + timedelta(minutes=15)
    with pytest.raises(AttemptError):
        credentials.from_answer("x", NOW)


@pytest.mark.slow
@pytest.mark.usefixtures("no_keys")
async def test_a_sections_own_environment_has_keys_too(s3: servers.S3, settings: Make) -> None:
    """Where RayLLM's files have them: `runtime_env.env_vars`."""
    s3.put("models", {"own/a": b"x", "own/b.bin": b"x"})
    section = {
        "type": "VLLMEngine",
        "model_id": "org/own",
        "runtime_env": {"env_vars": GOOD | {"AWS_ENDPOINT_URL": s3.url}},
        "s3_mirror_config": {"bucket_uri": "s3://models/own", "s3_sync_args": ["--exclude", "*.bin"]},
    }
    store = ModelStore({"HF_HUB_CACHE": str(settings().cache)})

    here = await store(Generator.model_validate(section), lambda _: None)

    assert sorted(path.name for path in settings().cache.glob("models--org--own/snapshots/*/*")) == ["a"]
    assert here.source == str(next(settings().cache.glob("models--org--own/snapshots/*")))
    assert here.s3_mirror_config is None
    section["s3_mirror_config"] = {"bucket_uri": "s3://models/none"}
    with pytest.raises(PreparationError, match="s3://models/none: NoSuchKey"):
        await store(Generator.model_validate(section), lambda _: None)


@pytest.mark.slow
async def test_without_signing(s3: servers.S3, settings: Make) -> None:
    with pytest.raises(StoreError, match="403 AccessDenied"):
        await fetch(
            mirrored("s3://models/keys", s3_sync_args=["--no-sign-request"]), settings(s3_endpoint=s3.url), nothing
        )


@pytest.mark.slow
@pytest.mark.usefixtures("no_keys")
async def test_adapters_and_tokenizer_are_fetched_as_the_model_is(s3: servers.S3, settings: Make) -> None:
    """With the mirror's endpoint, region and keys, but not its filters."""
    s3.put("models", {"beside/m/a": b"x", "beside/t/tokenizer.json": b"{}", "beside/lora/adapter_config.json": b"{}"})
    store = ModelStore({"HF_HUB_CACHE": str(settings().cache)})
    async with key_service(GOOD) as (url, _):
        section = {
            "type": "VLLMEngine",
            "model_id": "org/beside",
            "tokenizer_id": "s3://models/beside/t/",
            "s3_mirror_config": {
                "bucket_uri": "s3://models/beside/m",
                "s3_sync_args": ["--endpoint-url", s3.url, "--region", "us-east-1", "--exclude", "*.json"],
                "s3_aws_credentials": {"create_aws_credentials_url": url},
            },
        }
        here = await store(Generator.model_validate(section), lambda _: None)
        adapter = await store.adapter("s3://models/beside/lora", lambda _: None)

    assert tree(adapter.path) == {"adapter_config.json": b"{}"}
    assert tree(Path(here.tokenizer_id or "")) == {"tokenizer.json": b"{}"}
