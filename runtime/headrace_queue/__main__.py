"""The command line of `headrace-queue`."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer
from prometheus_client import CollectorRegistry
from typer import Option

from headrace_queue.app import QueueServer
from headrace_queue.dispatch import Limits
from headrace_queue.logs import capture_libraries, make_logger
from headrace_queue.settings import ENVIRONMENT_PREFIX, Settings, read_replicas, read_token

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
    model: Annotated[list[str] | None, Option(help="A model that is known without a worker. Repeatable.")] = None,
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
    max_request_bytes: Annotated[int, Option(min=1, help="Bytes of one request.")] = _DEFAULTS.max_request_bytes,
    client_buffer_bytes: Annotated[
        int, Option(min=1, help="Bytes of an answer that are kept for a client that has not read them.")
    ] = _LIMITS.client_buffer_bytes,
    max_attempts: Annotated[int, Option(min=1, help="Workers that may fail a request.")] = _LIMITS.max_attempts,
    drain_seconds: Annotated[
        float, Option(min=0, help="How long requests under way have after SIGTERM.")
    ] = _DEFAULTS.drain_seconds,
    heartbeat_seconds: Annotated[
        float, Option(min=1, help="How often a worker is asked for a sign of life.")
    ] = _DEFAULTS.heartbeat_seconds,
    expect_operator: Annotated[
        bool, Option(help="Call no model unknown, and be not ready, before an operator's first catalogue.")
    ] = _DEFAULTS.expect_operator,
    catalogue_seconds: Annotated[
        float, Option(min=0, help="How long that catalogue is waited for.")
    ] = _DEFAULTS.catalogue_seconds,
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Option(help="What is logged.")] = "INFO",
) -> None:
    """Serve the OpenAI API for the workers that connect. Every option is also a variable HEADRACE_QUEUE_<NAME>."""
    try:
        token = read_token(worker_token, worker_token_file)
        replicas = read_replicas(replicas)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    settings = Settings(
        host=host,
        port=port,
        admin_port=admin_port,
        keda_port=keda_port,
        worker_token=token,
        replicas=replicas,
        models=tuple(model or ()),
        generalist_models=tuple(generalist_models or _DEFAULTS.generalist_models),
        drain_seconds=drain_seconds,
        heartbeat_seconds=heartbeat_seconds,
        expect_operator=expect_operator,
        catalogue_seconds=catalogue_seconds,
        max_request_bytes=max_request_bytes,
        limits=Limits(max_waiting, max_waiting_bytes, client_buffer_bytes, hold_seconds, request_seconds, max_attempts),
    )
    capture_libraries()
    log = make_logger(log_level)
    try:
        asyncio.run(run(settings, log))
    except OSError as error:
        log.error("cannot listen", host=host, port=port, admin_port=admin_port, error=str(error))  # noqa: TRY400
        raise typer.Exit(1) from error


async def run(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with QueueServer(settings, CollectorRegistry(), log) as server:
        await stop.wait()
        await server.drain()
    log.info("stopped")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
