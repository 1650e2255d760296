"""The command line: `headrace-worker --config worker_config.toml`, or `-e env.toml -c cap.toml`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headrace_api.toml_file import ConfigError, located
from headrace_worker import app, config_file, config_text, decision, engines, libraries, logs, settings
from headrace_worker.config_file import Loaded
from headrace_worker.decision import OnMachine
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.errors import ProbesError
from headrace_worker.store import request
from headrace_worker.store.errors import StoreError

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_UNUSABLE = 2


@cli.command()
def worker(
    config: Annotated[Path | None, typer.Option(help="The configuration, edition 1 (see docs/worker.md).")] = None,
    env: Annotated[Path | None, typer.Option("-e", "--env-config", help="The two-file form's env.toml.")] = None,
    cap: Annotated[Path | None, typer.Option("-c", "--cap-config", help="The two-file form's cap.toml.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check and print the configuration; start nothing.")] = False,
    show_token: Annotated[bool, typer.Option("--show-token", help="Print the queue's token, not X's.")] = False,
) -> None:
    """Run one model engine and pull requests for it from a queue.

    With -e and -c, or with --check, the configuration is printed on standard output, in edition 1, and nothing else is.
    """
    try:
        loaded = config_file.load(config, env, cap)
    except ConfigError as error:
        _fail(str(error))
    for note in loaded.notes:
        sys.stderr.write(f"note: {note}\n")
    if loaded.converted or check:
        _print(config_text.toml(loaded.config, masked=not show_token))
    if check:
        _check(loaded)
        return
    _run(loaded)


def _check(loaded: Loaded) -> None:
    """What the files say, and what they say of this machine where it is there: a check needs no weights."""
    nvidia = int(libraries.is_there(libraries.NVML))  # how many there are is not needed
    machine = OnMachine(settings.programs(), settings.engine_environment(), nvidia)
    generator = loaded.config.generator
    try:
        for note in (*engines.check(generator), *asyncio.run(decision.on_this_machine(generator, machine))):
            sys.stderr.write(f"note: {note}\n")
        request.check(generator)
    except (EngineConfigError, StoreError) as error:
        _fail(located(loaded.text, loaded.name, str(error)))


def _run(loaded: Loaded) -> None:
    try:
        environment = settings.read(log_level=loaded.log_level)
        logs.configure(environment.log_level)
        token = settings.usable_token(environment, loaded.config.queue.token)
        # What can be told without weights is told before anything is started or fetched.
        engines.check(loaded.config.generator)
        request.check(loaded.config.generator)
        path = None if loaded.converted else Path(loaded.name)
        parts = app.standard_parts(loaded.config, environment, path)
        status = asyncio.run(app.run(loaded.config, environment, token, parts))
    except (EngineConfigError, StoreError) as error:
        _fail(located(loaded.text, loaded.name, str(error)))
    except settings.SettingsError as error:
        _fail(str(error))
    except ProbesError as error:
        _fail(str(error), status=1)
    raise typer.Exit(status)


def _print(text: str) -> None:
    try:
        typer.echo(text, nl=False)  # which flushes
    except OSError as error:
        # Python flushes again when it ends, which would fail again and change the exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"standard output: cannot print the configuration: {error.strerror}", status=1)


def _fail(message: str, status: int = _UNUSABLE) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(status)
