"""`headrace-worker` as people start it: both forms, `--check`, `--show-token`, and what goes where."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

from headrace_worker.cli import cli
from headrace_worker.engine_process import free_port
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.test_llamacpp_worker import ANSWER, QUESTION, START_S
from tests.worker.worker_process import SAMPLE_MODEL, all_gone, running

EXAMPLE = Path(__file__).parent / "documents_example"
ENV, CAP, NEW = "env.toml", "cap.toml", "worker_config.toml"
TWO_FILES = ("-e", ENV, "-c", CAP)


def program(*arguments: str, folder: Path = EXAMPLE, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "headrace_worker", *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def keys(table: dict[str, Any]) -> list[Any]:
    return [(key, keys(value)) if isinstance(value, dict) else key for key, value in table.items()]


@pytest.mark.slow
def test_the_documents_example_becomes_the_documents_result() -> None:
    expected = tomllib.loads((EXAMPLE / NEW).read_text())
    done = program(*TWO_FILES, "--check")
    assert done.returncode == 0
    assert tomllib.loads(done.stdout) == expected
    assert keys(tomllib.loads(done.stdout)) == keys(expected)
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == [
        line for line in (EXAMPLE / NEW).read_text().splitlines() if line.startswith("[")
    ]
    assert [line.split(" is ")[0] for line in done.stderr.splitlines()] == [
        "note: diagnostics = true",
        "note: gpu_model_name = 'A100-40GB'",
        "note: '/path/to/checkpoint'",
    ]


@pytest.mark.slow
def test_what_was_printed_is_printed_again_from_one_file(tmp_path: Path) -> None:
    printed = program(*TWO_FILES, "--check", "--show-token").stdout
    assert tomllib.loads(printed)["queue"]["token"] == "dummy-queue-token"
    (tmp_path / NEW).write_text(printed)
    again = program("--config", NEW, "--check", "--show-token", folder=tmp_path)
    assert (again.returncode, again.stdout) == (0, printed)
    masked = program("--config", NEW, "--check", folder=tmp_path)
    assert masked.stdout == printed.replace("dummy-queue-token", "XXXXXXXX")


@pytest.mark.slow
def test_the_configuration_is_printed_before_this_machine_is_asked_for_weights() -> None:
    done = program(*TWO_FILES)
    assert done.returncode == 2
    assert tomllib.loads(done.stdout) == tomllib.loads((EXAMPLE / NEW).read_text())
    assert "'/path/to/checkpoint' cannot be read: No such file or directory" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_masked_token_is_told_with_what_to_do_and_no_matter_to_a_check() -> None:
    done = program("--config", NEW)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'XXXXXXXX' is a masked token" in done.stderr
    assert "HEADRACE_QUEUE_TOKEN_FILE" in done.stderr
    assert program("--config", NEW, "--check").returncode == 0
    given = program("--config", NEW, HEADRACE_QUEUE_TOKEN="real")
    assert "masked" not in given.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no configuration; accepted: --config worker_config.toml, or -e env.toml -c cap.toml"),
        (("-e", ENV), "-e env.toml: cap.toml is missing; accepted: -e env.toml -c cap.toml"),
        (("-c", CAP), "-c cap.toml: env.toml is missing; accepted: -e env.toml -c cap.toml"),
        (("--config", NEW, "-e", ENV), "--config and -e: two forms are mixed; accepted: "),
        (("--config", NEW, *TWO_FILES), "--config and -e, -c: two forms are mixed; accepted: "),
        (("--config", "none"), "none: cannot read the configuration: No such file or directory"),
        (("--config", "."), ".: cannot read the configuration: Is a directory"),
        (("-e", ENV, "-c", "none"), "none: cannot read the configuration: No such file or directory"),
        (("--config", ENV), "env.toml, line 1: diagnostics: this is a file of the two-file form"),
        (("--config", CAP), "cap.toml, line 1: checkpoint_name: this is a file of the two-file form"),
        (("-e", NEW, "-c", CAP), "worker_config.toml, line 1: edition: this is a file of edition 1"),
        (("-e", ENV, "-c", NEW), "worker_config.toml, line 1: edition: this is a file of edition 1"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_one_clear_error(
    arguments: tuple[str, ...], check: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLE)
    done = CliRunner().invoke(cli, [*arguments, *check])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_argument_that_the_engine_lacks_has_its_line(tmp_path: Path) -> None:
    text = 'edition = 1\n[generator]\ntype = "VLLMEngine"\nmodel_id = "m"\n[generator.engine_kwargs]\nport = 1\n'
    (tmp_path / NEW).write_text(text)
    done = program("--config", NEW, "--check", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{NEW}, line 6: generator.engine_kwargs.port: 1 is not accepted, because Headrace")


@pytest.mark.slow
def test_a_full_disk_is_told() -> None:
    command = f"{sys.executable} -m headrace_worker -e {ENV} -c {CAP} --check > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("standard output: cannot print the configuration: No space left")


def two_files(folder: Path, url: str, port: int, *, diagnostics: bool) -> tuple[str, ...]:
    env = {
        "diagnostics": diagnostics,
        "queue": {"url": url, "token": "dummy-queue-token"},
        "monitoring": {"metrics_port": port},
    }
    checkpoint = {"type": "luminous", "directory": str(SAMPLE_MODEL), "tokenizer_filename": "tokenizer.json"}
    (folder / ENV).write_text(tomli_w.dumps(env))
    (folder / CAP).write_text(tomli_w.dumps({"checkpoint_name": "public-name", "checkpoint": checkpoint}))
    return "-e", str(folder / ENV), "-c", str(folder / CAP)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("diagnostics", "variables", "debug"),
    [(True, {}, True), (True, {"LOG_LEVEL": "info"}, False), (False, {}, False)],
)
async def test_a_worker_runs_from_two_files(
    tmp_path: Path, queue: ScriptedQueue, diagnostics: bool, variables: dict[str, str], debug: bool
) -> None:
    port = free_port()
    arguments = two_files(tmp_path, queue.url, port, diagnostics=diagnostics)
    async with running(tmp_path, arguments, port, **variables) as process:
        connection = await queue.connection()
        register, _ = await connection.greet()
        assert register.models == ["public-name"]
        assert connection.headers["Authorization"] == "Bearer dummy-queue-token"
        await process.until_ready(START_S)
        await connection.ask(1, QUESTION, temperature=0)
        async with asyncio.timeout(START_S):
            while not connection.answers[1]:
                await asyncio.sleep(0.05)
        assert json.loads(connection.answers[1])["choices"][0]["message"]["content"] == ANSWER
        await connection.ack("request-1")
        children = process.children()
        process.process.send_signal(signal.SIGTERM)
        assert await process.exit_status() == 0
        assert await all_gone(children)
        assert process.process.stdout
        printed = (await process.process.stdout.read()).decode()
    document = tomllib.loads(printed)
    assert document["generator"]["weight_set_directories"] == [str(SAMPLE_MODEL)]
    assert document["queue"]["token"] == "XXXXXXXX"
    assert printed.endswith("[generator.unstable]\nskip_checkpoint_load = false\n")
    log = process.log.read_text()
    assert "is served by LlamaCppEngine, which loads sample-chat-f16.gguf" in log
    assert "tokenizer.json' is not used: a GGUF file holds its tokenizer" in log
    assert ('"level": "debug"' in log) == debug
    assert "dummy-queue-token" not in log
