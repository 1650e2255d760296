"""The command line of `headrace-queue`."""

import asyncio
import gc
import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError
from typer import Option

from headrace_queue.app import QueueServer
from headrace_queue.keys.settings import KeySettings
from headrace_queue.ledger.webhook import read_settings as read_webhook
from headrace_queue.limits import Limits
from headrace_queue.logs import capture_libraries, make_logger
from headrace_queue.settings import (
    ENVIRONMENT_PREFIX,
    Settings,
    read_alias,
    read_limits,
    read_replicas,
    read_tls,
    read_token,
)

_DEFAULTS = Settings()
_LIMITS = _DEFAULTS.limits

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"auto_envvar_prefix": ENVIRONMENT_PREFIX})
def serve(  # noqa: PLR0913, PLR0917 - the options are the interface
    host: Annotated[str, Option(help="The address to listen on.")] = _DEFAULTS.host,
    port: Annotated[int, Option(min=0, max=65535, help="For clients and workers.")] = _DEFAULTS.port,
    admin_port: Annotated[
        int, Option(min=0, max=65535, help="For metrics, health and the operator.")
    ] = _DEFAULTS.admin_port,
    keda_port: Annotated[
        int | None, Option(min=0, max=65535, help="For KEDA's external scaler, gRPC; none is served without it.")
    ] = _DEFAULTS.keda_port,
    worker_token: Annotated[str | None, Option(help="Workers must present it; without one any may join.")] = None,
    worker_token_file: Annotated[Path | None, Option(help="A file that holds the token.")] = None,
    replicas: Annotated[
        str, Option(help="HOST:PORT where all replicas of this queue are, one address each; workers are told.")
    ] = _DEFAULTS.replicas,
    tls_cert: Annotated[Path | None, Option(help="A certificate (PEM): the public port then speaks TLS.")] = None,
    tls_key: Annotated[Path | None, Option(help="Its key (PEM).")] = None,
    model: Annotated[list[str] | None, Option(help="A model that is known without a worker. Repeatable.")] = None,
    alias: Annotated[
        list[str] | None, Option(help="ALIAS=MODEL: another name of a model, or of a base of adapters. Repeatable.")
    ] = None,
    generalist_models: Annotated[
        list[str] | None, Option(help="Pattern of the names that workers of the seed's protocol take. Repeatable.")
    ] = None,
    hold_seconds: Annotated[float, Option(min=0, help="How long a request waits for a worker.")] = _LIMITS.hold_seconds,
    request_seconds: Annotated[
        float, Option(min=1, help="How long a request may take altogether.")
    ] = _LIMITS.request_seconds,
    max_waiting: Annotated[int, Option(min=0, help="Requests that may wait.")] = _LIMITS.max_waiting,
    max_waiting_bytes: Annotated[
        int, Option(min=0, help="Bytes of all requests that wait.")
    ] = _LIMITS.max_waiting_bytes,
    max_waiting_per_model: Annotated[
        int, Option(min=0, help="Requests that may wait for one model.")
    ] = _LIMITS.max_waiting_per_model,
    max_waiting_per_key: Annotated[
        int, Option(min=0, help="Requests of one key that may wait.")
    ] = _LIMITS.max_waiting_per_key,
    max_waiting_bytes_per_key: Annotated[
        int, Option(min=0, help="Bytes of all requests of one key that wait.")
    ] = _LIMITS.max_waiting_bytes_per_key,
    max_request_bytes: Annotated[int, Option(min=1, help="Bytes of one request.")] = _DEFAULTS.max_request_bytes,
    client_buffer_bytes: Annotated[
        int, Option(min=1, help="Bytes of an answer that are kept for a client that has not read them.")
    ] = _LIMITS.client_buffer_bytes,
    max_attempts: Annotated[int, Option(min=1, help="Workers that may fail a request.")] = _LIMITS.max_attempts,
    priority_ageing_seconds: Annotated[
        float, Option(min=0.001, help="How long a key gets nothing to have one priority more.")
    ] = _DEFAULTS.priority_ageing_seconds,
    affinity_slack: Annotated[
        int, Option(min=0, help="Requests that a conversation's worker may have more than the best one.")
    ] = _DEFAULTS.affinity_slack,
    first_token_seconds: Annotated[
        float, Option(min=0, help="How long a stream waits for its first token before it moves; 0: for ever.")
    ] = _LIMITS.first_token_seconds,
    drain_seconds: Annotated[
        float, Option(min=0, help="How long requests under way have after SIGTERM.")
    ] = _DEFAULTS.drain_seconds,
    heartbeat_seconds: Annotated[
        float, Option(min=1, help="How often a worker is asked for a sign of life.")
    ] = _DEFAULTS.heartbeat_seconds,
    waiting_comment_seconds: Annotated[
        float, Option(min=1, help="How often a client that waits for a stream is told so, by a comment.")
    ] = _DEFAULTS.waiting_comment_seconds,
    expect_operator: Annotated[
        bool, Option(help="Call no model unknown, and be not ready, before an operator's first catalogue.")
    ] = _DEFAULTS.expect_operator,
    catalogue_seconds: Annotated[
        float, Option(min=0, help="How long that catalogue is waited for.")
    ] = _DEFAULTS.catalogue_seconds,
    data_folder: Annotated[Path, Option(help="Where the database is, unless --database-url says.")] = (
        _DEFAULTS.data_folder
    ),
    database_url: Annotated[
        str | None,
        Option(help="postgresql://USER:PASSWORD@HOST/DATABASE: for more than one queue.", show_default=False),
    ] = None,
    keys_file: Annotated[Path | None, Option(help="A YAML or JSON file of keys; read again when it changes.")] = None,
    keys_required: Annotated[bool, Option(help="Let nobody in without a key, also before there is one.")] = False,
    default_limit: Annotated[
        list[str] | None, Option(help="NAME=NUMBER: a limit of keys that do not say themselves. Repeatable.")
    ] = None,
    admin_key: Annotated[str | None, Option(help="Who has it may manage keys; without one nobody.")] = None,
    admin_key_file: Annotated[Path | None, Option(help="A file that holds the admin key.")] = None,
    anonymous_workers: Annotated[
        bool | None, Option(help="Let workers without a token join; unless said: while no token is configured.")
    ] = None,
    webhook_url: Annotated[str | None, Option(help="Is told of every row of the ledger, by signed messages.")] = None,
    webhook_secret: Annotated[
        str | None, Option(help="Signs them: 24 to 64 bytes in base64, as standardwebhooks has it.")
    ] = None,
    receipt_secret: Annotated[
        str | None, Option(help="Signs workers' receipts; else one is made and kept in the database.")
    ] = None,
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Option(help="What is logged.")] = "INFO",
) -> None:
    """Serve the OpenAI API for the workers that connect. Every option is also a variable HEADRACE_QUEUE_<NAME>."""
    try:
        token = read_token(worker_token, worker_token_file)
        replicas = read_replicas(replicas)
        webhook = read_webhook(webhook_url, webhook_secret)
        keys = KeySettings(
            file=keys_file,
            required=keys_required,
            default_limits=read_limits(default_limit or ()),
            admin_key=read_token(admin_key, admin_key_file, "--admin-key"),
            anonymous_workers=anonymous_workers,
        )
        tls = read_tls(tls_cert, tls_key)
        aliases = tuple(read_alias(each) for each in alias or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    settings = Settings(
        host=host,
        port=port,
        admin_port=admin_port,
        keda_port=keda_port,
        worker_token=token,
        replicas=replicas,
        tls=tls,
        models=tuple(model or ()),
        aliases=aliases,
        generalist_models=tuple(generalist_models or _DEFAULTS.generalist_models),
        priority_ageing_seconds=priority_ageing_seconds,
        affinity_slack=affinity_slack,
        drain_seconds=drain_seconds,
        heartbeat_seconds=heartbeat_seconds,
        expect_operator=expect_operator,
        catalogue_seconds=catalogue_seconds,
        waiting_comment_seconds=waiting_comment_seconds,
        max_request_bytes=max_request_bytes,
        data_folder=data_folder,
        database_url=database_url,
        keys=keys,
        receipt_secret=receipt_secret,
        webhook=webhook,
        limits=Limits(
            max_waiting=max_waiting,
            max_waiting_bytes=max_waiting_bytes,
            max_waiting_per_model=max_waiting_per_model,
            max_waiting_per_key=max_waiting_per_key,
            max_waiting_bytes_per_key=max_waiting_bytes_per_key,
            client_buffer_bytes=client_buffer_bytes,
            hold_seconds=hold_seconds,
            request_seconds=request_seconds,
            max_attempts=max_attempts,
            first_token_seconds=first_token_seconds,
        ),
    )
    capture_libraries()
    log = make_logger(log_level)
    try:
        asyncio.run(run(settings, log))
    except (SQLAlchemyError, ValueError) as error:
        log.error("cannot start", error=str(error))  # noqa: TRY400
        raise typer.Exit(1) from error
    except OSError as error:
        log.error("cannot listen", host=host, port=port, admin_port=admin_port, error=str(error))  # noqa: TRY400
        raise typer.Exit(1) from error


async def run(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.time = time.monotonic  # type: ignore[method-assign]  # which its own calls, in Python, a dozen times a request
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with QueueServer(settings, CollectorRegistry(), log) as server:
        _look_for_garbage_seldom()
        await stop.wait()
        await server.drain()
    log.info("stopped")


def _look_for_garbage_seldom() -> None:
    """Let Python leave alone what is there once the program runs, and look through the rest less often.

    A request leaves no cycles of references behind. With Python's own settings a seventh of the queue's time went into
    looking for some, and every few thousand requests everybody waited for a quarter of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
