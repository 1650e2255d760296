"""`headrace keys` against a real queue, by its URL and through a kubectl that forwards to it."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest
from prometheus_client import CollectorRegistry

from headrace_api.keys import KeyInfo
from headrace_cli import keys
from headrace_cli.errors import Trouble
from headrace_cli.keys import moment, row, seconds
from headrace_queue.app import QueueServer
from headrace_queue.keys.settings import KeySettings
from headrace_queue.logs import make_logger
from headrace_queue.settings import Settings

HEADRACE = [sys.executable, "-m", "headrace_cli"]
ADMIN = "the-admin-key-of-this-test"
NOW = datetime(2026, 1, 31, tzinfo=UTC)

KUBECTL = """#!{python}
import json, sys, time
arguments = [word for word in sys.argv[1:] if not word.startswith("--namespace")]
match arguments[:2]:
    case ["get", "services"]:
        annotations = {{"headrace.dev/admin-key-secret": "release-queue-admin-key/admin-key"}}
        names = {names}
        items = [{{"metadata": {{"name": name, "annotations": annotations}}}} for name in names]
        print(json.dumps({{"kind": "List", "items": items + [{{"metadata": {{"name": "release-queue"}}}}]}}))
    case ["get", "secret"]:
        print(json.dumps({{"kind": "Secret", "data": {{"admin-key": "{key}"}}}}))
    case ["port-forward", "--address=127.0.0.1"]:
        assert arguments[2:] == ["service/release-queue-admin", ":admin"], arguments
        print("Forwarding from 127.0.0.1:{port} -> 9090", flush=True)
        open("{folder}/forwarding", "w").close()
        time.sleep(60)
    case _:
        sys.exit("unexpected: " + " ".join(arguments))
"""


@contextmanager
def serving(folder):
    """A queue on an event loop of its own."""
    loop, stop, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    servers = []

    async def serve():
        keys = KeySettings(admin_key=ADMIN)
        settings = Settings(host="127.0.0.1", port=0, admin_port=0, data_folder=folder, models=("m", "n"), keys=keys)
        with (folder / "log").open("w") as log:
            async with QueueServer(settings, CollectorRegistry(), make_logger(stream=log)) as server:
                servers.append(server)
                started.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(10)
    try:
        yield servers[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def queue(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def run(queue, tmp_path):
    """Runs `headrace keys` by URL."""
    (tmp_path / "admin").write_text(ADMIN + "\n")
    where = ["--url", f"http://127.0.0.1:{queue.admin_port}", "--admin-key-file", str(tmp_path / "admin")]

    def run_one(*arguments):
        return subprocess.run([*HEADRACE, "keys", *arguments, *where], capture_output=True, text=True, check=False)

    return run_one


def models(queue, key):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{queue.port}/v1", api_key=key, max_retries=0)
    with client:
        return [model.id for model in client.models.list()]


@pytest.mark.slow
def test_a_key_from_its_making_to_its_end(queue, run):
    made = run("create", "team a", "--model", "m*", "--requests-per-minute", "60", "--tokens-per-day", "unlimited")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    key_id = key.split("-")[1]
    assert key_id in made.stderr
    assert key not in made.stderr
    assert models(queue, key) == ["m"]

    listed = run("list").stdout.strip().split("\t")
    limits = "60 req/min, unlimited tok/day"
    assert listed == [key_id, "team a", "active", "m*", limits, "1", "-100..0", "-", "database"]

    rotated = json.loads(run("rotate", key_id, "--grace", "1h", "-o", "json").stdout)
    assert models(queue, key) == models(queue, rotated["key"]) == ["m"]

    assert run("revoke", key_id).returncode == 0
    with pytest.raises(openai.AuthenticationError):
        models(queue, rotated["key"])
    assert run("list").stdout.split("\t")[2] == "revoked"
    assert json.loads(run("list", "-o", "json").stdout)["keys"][0]["revoked"]


@pytest.fixture
def where(queue, tmp_path):
    (tmp_path / "admin").write_text(ADMIN)
    return {"url": f"http://127.0.0.1:{queue.admin_port}", "admin_key_file": tmp_path / "admin"}


@pytest.mark.parametrize(
    ("wrong", "words", "status"),
    [
        (lambda where: keys.create("x", requests_per_minute="0", **where), "limits.requests_per_minute", 2),
        (lambda where: keys.create("x", requests_per_minute="many", **where), "limits.requests_per_minute", 2),
        (lambda where: keys.create("x", priority=-101, **where), "priority", 2),
        (lambda where: keys.create("x", expires="tomorrow", **where), "--expires tomorrow: it must be", 2),
        (lambda where: keys.revoke("../keys", **where), "is no key's id", 2),
        (lambda where: keys.revoke("nobody", **where), "the queue says: there is no key nobody", 1),
        (lambda where: keys.rotate("nobody", grace="1y", **where), "1y: it must be", 2),
        (lambda where: keys.rotate("nobody", grace="365d", **where), "--grace 365d: it must be at most 90d", 2),
        (lambda where: keys.list_(url=where["url"]), "--url needs --admin-key-file", 2),
        (lambda where: keys.list_(**where | {"admin_key_file": Path("/etc/hostname")}), "Keys are managed with", 1),
        (lambda where: keys.list_(**where | {"admin_key_file": Path(__file__)}), "must be one line of ASCII", 2),
        (lambda where: keys.list_(**where | {"admin_key_file": Path("/nowhere")}), "/nowhere cannot be read", 2),
        (lambda where: keys.list_(**where | {"url": "http://127.0.0.1:1"}), "does not answer", 2),
        (lambda where: keys.list_(**where | {"url": "127.0.0.1:1"}), "it must be http://", 2),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(where, capsys, wrong, words, status):
    with pytest.raises(Trouble, match=words) as told:
        wrong(where)
    assert told.value.status == status
    keys.list_(**where)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "status", "words", "options"),
    [
        (["release-queue-admin"], 0, "", ()),
        ([], 2, "with an admin key there are: none", ()),
        (["release-queue-admin", "other-queue-admin"], 2, "other-queue-admin, release-queue-admin; see --queue", ()),
        (["release-queue-admin", "other-queue-admin"], 0, "", ("--queue", "release-queue")),
    ],
)
def test_through_kubectl_the_key_is_read_and_the_port_forwarded(  # noqa: PLR0917
    queue, tmp_path, names, status, words, options
):
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    key = base64.b64encode(ADMIN.encode()).decode()
    facts = {"python": sys.executable, "names": names, "key": key, "port": queue.admin_port, "folder": tmp_path}
    program.write_text(KUBECTL.format(**facts))
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [*HEADRACE, "keys", "create", "team", "--namespace", "headrace", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == status, result.stderr
    assert words in result.stderr
    assert Path(tmp_path / "forwarding").exists() == (status == 0)
    if status == 0:
        assert models(queue, result.stdout.strip()) == ["m", "n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", datetime(2026, 3, 2, tzinfo=UTC)),
        ("12h", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_when_a_key_expires(text, expected):
    assert moment(text, NOW) == expected


def test_how_long_a_secret_stays_good():
    assert [seconds(text) for text in ("0", "90s", "30m", "24h", "7d")] == [0, 90, 1800, 86400, 604800]
    with pytest.raises(Trouble, match="5: it must be 0, or a number with a unit"):
        seconds("5")


def test_a_key_that_has_expired_is_shown_so():
    key = KeyInfo(id="a", name="b", source="file", expires=datetime(2026, 1, 30, tzinfo=UTC), weight=2.5, priority=3)
    assert row(key, NOW) == ("a", "b", "expired", "*", "-", "2.5", "-100..3", "2026-01-30", "file")
