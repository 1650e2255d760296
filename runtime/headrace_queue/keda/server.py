"""The gRPC server that KEDA asks (`externalscaler.ExternalScaler`), on a port of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
import structlog

from headrace_api.load import ModelLoad
from headrace_queue.keda import messages
from headrace_queue.keda.trigger import METRIC, Trigger

SERVICE = "externalscaler.ExternalScaler"
_STOP_SECONDS = 1.0

_Context = Any
"""A `grpc.aio.ServicerContext`, whose type has the messages' types as parameters that these do not have."""


class Loads(Protocol):
    """The load of all replicas."""

    def load(self) -> Mapping[str, ModelLoad]:
        """By model."""

    def watch(self) -> contextlib.AbstractContextManager[asyncio.Event]:
        """An event that is set when the load may have changed; whoever waits for it clears it."""


class Scaler:
    """The four calls."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads

    async def is_active(self, request: Any, context: _Context) -> Any:
        """Whether a model at zero shall have a worker."""
        trigger = await _trigger(request, context)
        return messages.IsActiveResponse(result=await self._ongoing(trigger, context) > trigger.activation)

    async def stream_is_active(self, request: Any, context: _Context) -> AsyncIterator[Any]:
        """The same, told at first and when it changes, so that a first request need not wait to be asked about."""
        trigger = await _trigger(request, context)
        told: bool | None = None
        with self._loads.watch() as changed:
            while True:
                changed.clear()
                active = (trigger.ongoing(self._loads.load()) or 0) > trigger.activation
                if active != told:
                    told = active
                    yield messages.IsActiveResponse(result=active)
                await changed.wait()

    async def get_metric_spec(self, request: Any, context: _Context) -> Any:
        """What one worker shall have."""
        target = (await _trigger(request, context)).target
        spec = messages.MetricSpec(metricName=METRIC, targetSize=max(1, round(target)), targetSizeFloat=target)
        return messages.GetMetricSpecResponse(metricSpecs=[spec])

    async def get_metrics(self, request: Any, context: _Context) -> Any:
        """What all workers together have."""
        ongoing = await self._ongoing(await _trigger(request.scaledObjectRef, context), context)
        value = messages.MetricValue(metricName=METRIC, metricValue=ongoing, metricValueFloat=float(ongoing))
        return messages.GetMetricsResponse(metricValues=[value])

    async def _ongoing(self, trigger: Trigger, context: _Context) -> int:
        load = self._loads.load()
        ongoing = trigger.ongoing(load)
        if ongoing is None:  # an error, on which KEDA changes nothing; 0 would take workers away
            known = ", ".join(sorted(load)[:20]) or "none"
            await _refuse(context, grpc.StatusCode.NOT_FOUND, f"metadata.model: {trigger.model!r}; known: {known}")
        return ongoing


async def _trigger(request: Any, context: _Context) -> Trigger:
    try:
        return Trigger.read(dict(request.scalerMetadata))
    except ValueError as error:
        await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _refuse(context: _Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort raises")


def _handlers(scaler: Scaler) -> grpc.GenericRpcHandler:
    ref, request = messages.ScaledObjectRef, messages.GetMetricsRequest

    def one(call: Callable[[Any, Any], Awaitable[Any]], takes: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            call,
            takes.FromString,
            lambda answer: answer.SerializeToString(),
        )

    stream: Any = grpc.unary_stream_rpc_method_handler(
        scaler.stream_is_active,
        ref.FromString,
        lambda answer: answer.SerializeToString(),
    )
    calls = {
        "IsActive": one(scaler.is_active, ref),
        "StreamIsActive": stream,
        "GetMetricSpec": one(scaler.get_metric_spec, ref),
        "GetMetrics": one(scaler.get_metrics, request),
    }
    return grpc.method_handlers_generic_handler(SERVICE, calls)


@contextlib.asynccontextmanager
async def serving(loads: Loads, host: str, port: int, log: structlog.typing.FilteringBoundLogger) -> AsyncIterator[int]:
    """Serve KEDA while the block runs; the value is the port.

    Raises:
        OSError: it cannot be listened on.
    """
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((_handlers(Scaler(loads)),))
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(where)
    except RuntimeError as error:
        raise OSError(f"--keda-port: cannot listen on {where}: {error}") from error
    await server.start()
    log.info("serving KEDA", host=host, port=bound)
    try:
        yield bound
    finally:
        await server.stop(_STOP_SECONDS)
