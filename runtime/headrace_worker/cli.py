"""The command line: `headrace-worker --config worker_config.toml`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace_worker import app, config_file, logs, probes, settings
from headrace_worker.engines.protocol import EngineConfigError

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_UNUSABLE = 2


@cli.command()
def worker(
    config: Annotated[Path, typer.Option(help="The configuration, edition 1 (see docs/worker.md).")],
) -> None:
    """Run one model engine and pull requests for it from a queue."""
    try:
        environment = settings.read()
        document = config_file.load(config)
        token = settings.usable_token(environment, document.queue.token)
        plan = app.plan(document, environment, token)
    except config_file.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(_UNUSABLE) from error
    except EngineConfigError as error:
        sys.stderr.write(f"{config}: {error}\n")
        raise typer.Exit(_UNUSABLE) from error
    except settings.SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(_UNUSABLE) from error
    logs.configure(environment.log_level)
    try:
        status = asyncio.run(app.run(plan, environment))
    except probes.ProbesError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error
    raise typer.Exit(status)
