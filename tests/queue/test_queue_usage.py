"""`GET /v1/usage` on both ports, and `headrace usage`, which asks it."""

import asyncio
import base64
import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ledger_setup import entry
from postgres import Postgres
from queue_setup import Queue, Start
from sqlalchemy import Connection

from headrace_queue.keys.settings import KeySettings
from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.rows import LedgerRows

DAY = 86_400
FIRST = 1_767_225_600.0
"""2026-01-01."""
WHEN = {"start": "2026-01-01", "end": "2026-01-31"}


def nothing(_connection: Connection, _new: Sequence[Entry]) -> None:
    pass


async def filled(start: Start, url: str) -> Queue:
    queue = await start(database_url=url)
    rows = [
        entry(
            f"{day}-{key}-{model}-{n}", key=key, model=model, ended_at=FIRST + day * DAY + 5.0, doubt="x" if n else ""
        )
        for day in range(3)
        for key in ("a", "b")
        for model in ("m", "org/n")
        for n in range(2)
    ]
    assert queue.server._database is not None
    LedgerRows(queue.server._database).write(rows, nothing)
    return queue


async def ask(queue: Queue, status: int = 200, base: str = "", **parameters: str) -> dict[str, Any]:
    base = base or queue.url
    async with queue.http.get(f"{base}/v1/usage", params=parameters) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == status, answer
        return answer


async def test_sums_by_day_key_and_model(start: Start, database_url: str) -> None:
    queue = await filled(start, database_url)
    for base in (queue.url, queue.admin_url):
        answer = await ask(queue, 200, base, **WHEN)
        assert (len(answer["data"]), answer["has_more"]) == (12, False)
        assert answer["data"][0] == {
            "object": "usage", "day": "2026-01-01", "key": "a", "model": "m", "requests": 2, "prompt_tokens": 6,
            "cached_tokens": 2, "completion_tokens": 4, "doubtful": 1, "gpu_seconds": 1.0,
        }  # fmt: skip
    (total,) = (await ask(queue, 200, "", group_by="key", key="b", start="2026-01-02", end="2026-01-02"))["data"]
    assert (total["key"], total["requests"], total["completion_tokens"]) == ("b", 4, 8)
    assert [row["outcome"] for row in (await ask(queue, 200, "", group_by="outcome", **WHEN))["data"]] == ["completed"]
    assert (await ask(queue, 200, "", start="2025-01-01", end="2025-12-31"))["data"] == []


@pytest.mark.parametrize("groups", ["day,key,model", "model", "key,day"])
async def test_pages_are_the_whole(start: Start, database_url: str, groups: str) -> None:
    queue = await filled(start, database_url)
    whole = (await ask(queue, 200, "", group_by=groups, **WHEN))["data"]
    pages: list[Any] = []
    more: dict[str, str] = {}
    while True:
        page = await ask(queue, 200, "", group_by=groups, limit="2", **WHEN, **more)
        pages += page["data"]
        if not page["has_more"]:
            break
        more = {"after": page["next"]}
    assert pages == whole


async def test_csv_has_everything(start: Start, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = await filled(start, database_url)
    monkeypatch.setattr("headrace_queue.ledger.usage_api.MOST_ROWS", 5)
    whole = (await ask(queue, 200, "", **WHEN))["data"]
    for parameters, headers in ((WHEN | {"format": "csv"}, {}), (WHEN, {"Accept": "text/csv, */*"})):
        async with queue.http.get(f"{queue.url}/v1/usage", params=parameters, headers=headers) as response:
            assert response.content_type == "text/csv"
            rows = list(csv.DictReader(io.StringIO(await response.text())))
        assert rows == [{name: str(value) for name, value in row.items() if name != "object"} for row in whole]
    async with queue.http.get(f"{queue.url}/v1/usage", params=WHEN | {"format": "csv", "limit": "3"}) as response:
        assert len((await response.text()).splitlines()) == 4


async def test_no_cell_of_the_csv_is_a_formula(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url)
    adapters = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "legal=1", ""]
    rows = [entry(f"{n}", adapter=one, ended_at=FIRST, gpu_seconds=-0.5) for n, one in enumerate(adapters)]
    assert queue.server._database is not None
    LedgerRows(queue.server._database).write(rows, nothing)
    asked = WHEN | {"group_by": "adapter,model", "format": "csv"}
    async with queue.http.get(f"{queue.url}/v1/usage", params=asked) as response:
        found = list(csv.DictReader(io.StringIO(await response.text(), newline="")))
    assert {row["adapter"] for row in found} == {*(f"'{one}" for one in adapters[:7]), "legal=1", ""}
    assert {row["gpu_seconds"] for row in found} == {"-0.5"}, "numbers are as they are"
    answer = await ask(queue, 200, "", group_by="adapter", **WHEN)
    assert {row["adapter"] for row in answer["data"]} == {*adapters}, "JSON is no spreadsheet"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"start": "yesterday"}, "a day in UTC"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "must not be after"),
        ({"group_by": "key,shoe"}, "some of day, key"),
        ({"group_by": "key,key"}, "some of day, key"),
        ({"limit": "0"}, "from 1 to 1000"),
        ({"limit": "9" * 30}, "from 1 to 1000"),
        ({"limit": "²"}, "from 1 to 1000"),
        ({"limit": "00000010099999"}, "from 1 to 1000"),
        ({"limit": "000000001" + "0" * 5000}, "from 1 to 1000"),
        ({"format": "xml"}, "csv or json"),
        ({"format": "x" * 5000}, "csv or json"),
        ({"after": "x"}, "the `next`"),
        ({"after": "WyJhIiwgImIiLCAiYyJd"}, "the `next`"),
        ({"after": "WzFd", "group_by": "key"}, "the `next`"),
        ({"after": base64.b64encode(b"[" * 1500).decode()}, "the `next`"),
        ({"key": "a\0"}, "NUL"),
        ({"page": "2"}, "no parameter"),
        ({"page" * 1000: "2"}, "no parameter"),
    ],
)
async def test_wrong_parameters_are_refused_by_name(queue: Queue, parameters: dict[str, str], words: str) -> None:
    error = (await ask(queue, 400, "", **parameters))["error"]
    assert words in error["message"]
    assert len(error["message"]) < 300, "what is long is cut"
    assert error["param"] in {name[:100] for name in parameters}


@pytest.mark.parametrize("end", ["0001-01-01", "0001-01-29", "0001-01-30"])
async def test_no_day_is_before_the_first_one(queue: Queue, end: str) -> None:
    answer = await ask(queue, 200, "", end=end)
    assert (answer["start"], answer["end"], answer["data"]) == ("0001-01-01", end, [])
    assert (await ask(queue, 200, "", start=end, end=end))["start"] == end


async def test_a_key_sees_its_own_usage_and_the_admin_key_everybodys(start: Start, database_url: str) -> None:
    admin = "the-admin-key-of-this-test"
    queue = await start(database_url=database_url, keys=KeySettings(admin_key=admin))
    keys: dict[str, str] = {}
    for _ in range(2):
        headers = {"Authorization": f"Bearer {admin}"}
        async with queue.http.post(f"{queue.admin_url}/keys", json={}, headers=headers) as response:
            made = await response.json()
            keys[made["info"]["id"]] = made["key"]
    assert queue.server._database is not None
    LedgerRows(queue.server._database).write([entry(key_id, key=key_id) for key_id in keys], nothing)
    first, second = keys

    async def seen(shown: str | None, status: int = 200, **more: str) -> Any:
        url, parameters = f"{queue.url}/v1/usage", {"start": "2001-01-01", "end": "2002-01-01", **more}
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        async with queue.http.get(url, params=parameters, headers=headers) as response:
            assert response.status == status
            answer = await response.json()
            return answer["error"] if status >= 400 else [row["key"] for row in answer["data"]]

    assert await seen(keys[first]) == await seen(keys[first], key=first) == [first]
    assert await seen(keys[second]) == [second]
    assert first in (await seen(keys[first], 403, key=second))["message"]
    assert await seen(admin) == sorted(keys)
    assert (await seen(None, 401))["code"] == (await seen("wrong", 401))["code"] == "invalid_api_key"


@pytest.mark.slow
async def test_while_the_database_is_away_it_says_so(start: Start, postgres_server: Postgres) -> None:
    queue = await start(database_url=postgres_server.emptied())
    postgres_server.stop()
    try:
        assert (await ask(queue, 503))["error"]["code"] == "usage_unavailable"
    finally:
        postgres_server.start()
    assert (await ask(queue))["data"] == []


# ---- headrace usage

PROXY = """#!/bin/sh
case "$*" in
    *"get inferencemodels"*) echo '{"kind": "List", "items": []}' ;;
    *"get services"*) echo '{"kind": "List", "items": [
        {"metadata": {"namespace": "ns", "name": "all"}, "spec": {"clusterIP": "None", "ports": [{"name": "admin"}]}},
        {"metadata": {"namespace": "ns", "name": "q-admin"}, "spec": {"ports": [{"name": "admin"}]}}]}' ;;
    *"--raw"*) for word; do case "$word" in */proxy/*) path="${word#*/proxy}";; esac; done
        exec curl --silent --fail-with-body "$ADMIN$path&timeout=5s" ;;
esac
"""
"""kubectl, as far as `headrace usage` needs it: what the API server passes on goes to the queue's admin port.

With the `timeout` that kubectl's `--request-timeout` puts into every query.
"""


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace_cli", "usage", *arguments,
        env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.slow
async def test_the_command_asks_by_url_and_through_the_api_server(start: Start, tmp_path: Path) -> None:
    queue = await filled(start, f"sqlite:///{tmp_path / 'queue.db'}")
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(PROXY)
    kubectl.chmod(0o755)
    through = {"PATH": f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}", "ADMIN": queue.admin_url}
    days = ("--start", "2026-01-01", "--end", "2026-01-31")
    by_url = ("--url", f"{queue.url}/v1")
    status, table, _ = await run(*days, *by_url, "--by", "key")
    assert (status, table) == (0, "a\t12\t36\t12\t24\t6.0\t6\nb\t12\t36\t12\t24\t6.0\t6\n")
    assert (await run(*days, "--by", "key", **through))[:2] == (0, table)
    status, text, _ = await run(*days, "--format", "json", "--key", "a", "--model", "org/n", **through)
    assert [row["day"] for row in json.loads(text)] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    status, text, _ = await run(*days, *by_url, "--format", "csv")
    assert (status, len(list(csv.DictReader(io.StringIO(text))))) == (0, 12)
    assert await run(*by_url, "--by", "shoe") == (2, "", f"the queue answers 400: {SHOE}\n")
    status, _, err = await run("--url", "http://127.0.0.1:9")
    assert (status, "cannot be asked at" in err) == (2, True)
    assert (await run("--queue", "x", **through))[2].startswith("--queue is 'x': it must be NAMESPACE/SERVICE")


SHOE = "`group_by` is 'shoe': it must be some of day, key, model, adapter, worker, outcome, with commas between."
