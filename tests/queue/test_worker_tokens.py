"""Workers' tokens: who may join, and which models each may serve."""

import hashlib
from pathlib import Path

import pytest
import websockets
from pydantic import ValidationError
from queue_setup import Start
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.keys import KeyFile
from headrace_queue.keys.settings import KeySettings
from headrace_queue.keys.worker_tokens import WorkerRights, WorkerTokens, token_of, tokens_of

SECRET = "a-token-of-a-lab-machine"
HASH = hashlib.sha256(SECRET.encode()).hexdigest()


def table(*workers: dict[str, object], **options: object) -> WorkerTokens:
    return WorkerTokens(tokens_of(KeyFile.model_validate({"workers": workers}).workers), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [{"token": SECRET}, {"sha256": HASH}, {"sha256": ["0" * 64, HASH]}])
def test_a_token_has_the_rights_of_its_entry(kept: dict[str, object]) -> None:
    rights = table({"name": "lab", **kept, "models": ["llama-*", "mistral:*"]}).rights(SECRET)
    assert rights is not None
    assert (rights.name, rights.generalist) == ("lab", False)
    served = [name for name in ("llama-7b", "llama-7b:x", "mistral", "mistral:x", "Llama-7b") if rights.serves(name)]
    assert served == ["llama-7b", "llama-7b:x", "mistral:x"]


def test_without_any_token_anybody_may_join() -> None:
    assert WorkerTokens().rights(None) == WorkerTokens().rights("whatever") == WorkerRights("")
    assert WorkerTokens(anonymous=False).rights("whatever") is None


def test_with_tokens_only_those_who_have_one_may_join() -> None:
    tokens = WorkerTokens([token_of(SECRET, WorkerRights("chart"))])
    assert tokens.rights(SECRET) == WorkerRights("chart")
    assert tokens.rights(SECRET + "x") is tokens.rights("") is tokens.rights(None) is None


def test_anonymous_workers_beside_tokens_are_a_setting_and_a_wrong_token_is_none_of_them() -> None:
    tokens = WorkerTokens([token_of(SECRET, WorkerRights("chart"))], anonymous=True)
    assert tokens.rights(None) == WorkerRights("")
    assert tokens.rights("wrong") is None


def test_taking_the_last_token_away_opens_nothing() -> None:
    tokens, told = WorkerTokens([token_of(SECRET, WorkerRights("chart"))]), []
    tokens.watch(lambda: told.append(tokens.rights(SECRET)))
    tokens.replace([])
    assert told == [None]
    assert not tokens.open
    assert tokens.rights(None) is None


def test_a_token_expires() -> None:
    now = 0.0
    entry = {"name": "lab", "token": SECRET, "expires": "1970-01-01T00:01:00Z"}
    tokens = table(entry, clock=lambda: now)
    assert tokens.rights(SECRET)
    now = 60.0
    assert tokens.rights(SECRET) is None


def test_that_a_token_has_expired_is_told_once() -> None:
    clock, told = [0.0], []
    first = {"name": "a", "token": SECRET, "expires": "1970-01-01T00:01:00Z"}
    second = {"name": "b", "token": SECRET + "2", "expires": "1970-01-01T00:02:00Z"}
    tokens = table(first, second, {"name": "c", "token": SECRET + "3"}, clock=lambda: clock[0])
    tokens.watch(lambda: told.append(clock[0]))
    for clock[0] in (0.0, 59.0, 60.0, 61.0, 120.0, 121.0):
        tokens.look()
    assert told == [60.0, 120.0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "a"}, "give `token` or `sha256`"),
        ({"name": "a", "token": SECRET, "sha256": HASH}, "and not both"),
        ({"name": "a", "token": "short"}, "at least 20"),
        ({"name": "a", "sha256": "12"}, "pattern"),
        ({"name": "a b", "token": SECRET}, "pattern"),
        ({"name": "a", "token": SECRET, "model": ["x"]}, "Extra inputs"),
        ({"name": "a", "token": SECRET, "models": ["x"], "generalist": True}, "a generalist is given any model"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_reason(entry: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        table(entry)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="workers: a is there more than once"):
        table({"name": "a", "token": SECRET}, {"name": "a", "sha256": "0" * 64})


async def test_the_keys_file_has_tokens_of_workers_and_its_changes_are_followed(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"workers: [{{name: lab, token: {SECRET}, models: [llama*]}}]")
    queue = await start(keys=KeySettings(file=file))
    async with V1Worker(queue.worker_url, "llama", token=SECRET) as worker:
        assert queue.server.dispatcher.schedule.dedicated() == {"llama"}
        file.write_text("workers: []")
        queue.server.keys._look_at_file()
        with pytest.raises(websockets.ConnectionClosed, match="not accepted any more"):
            await worker.expect(wire.Job)
    with pytest.raises(websockets.InvalidStatus, match="401"):
        async with V1Worker(queue.worker_url, "llama", token=SECRET):
            pass
