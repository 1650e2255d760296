"""KEDA's external scaler, asked by a gRPC client that KEDA's own interface makes."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_tools import protoc
from queue_setup import PLAIN, Queue, Start
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.keda.trigger import Trigger

HERE = Path(__file__).parent
SERVICE = "/externalscaler.ExternalScaler/"


@pytest.fixture(scope="module")
def pb2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("externalscaler")
    assert protoc.main(["", f"-I{HERE}", f"--python_out={folder}", f"{HERE / 'externalscaler.proto'}"]) == 0
    sys.path.insert(0, str(folder))
    import externalscaler_pb2  # noqa: PLC0415 - made just now

    yield externalscaler_pb2
    sys.path.remove(str(folder))


class Keda:
    """What KEDA does with a trigger."""

    def __init__(self, pb2: Any, channel: grpc.aio.Channel, **metadata: str) -> None:
        self.pb2 = pb2
        self.channel = channel
        self.ref = pb2.ScaledObjectRef(name="object", namespace="here", scalerMetadata=metadata)

    def _call(self, name: str, request: Any, answer: Any) -> Any:
        call = self.channel.unary_unary(SERVICE + name, type(request).SerializeToString, answer.FromString)
        return call(request, timeout=5)

    async def active(self) -> bool:
        return (await self._call("IsActive", self.ref, self.pb2.IsActiveResponse)).result

    async def spec(self) -> Any:
        (one,) = (await self._call("GetMetricSpec", self.ref, self.pb2.GetMetricSpecResponse)).metricSpecs
        return one

    async def metrics(self) -> Any:
        request = self.pb2.GetMetricsRequest(scaledObjectRef=self.ref, metricName="headrace-ongoing-requests")
        (one,) = (await self._call("GetMetrics", request, self.pb2.GetMetricsResponse)).metricValues
        return one

    def stream(self) -> Any:
        serialize, read = self.pb2.ScaledObjectRef.SerializeToString, self.pb2.IsActiveResponse.FromString
        return self.channel.unary_stream(SERVICE + "StreamIsActive", serialize, read)(self.ref, timeout=10)


def channel(queue: Queue) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"{queue.server._settings.host}:{queue.server.keda_port}")


@pytest.mark.slow
async def test_waiting_and_running_requests_are_told_and_pushed(start: Start, pb2: Any) -> None:
    queue = await start(keda_port=0, models=("m",))
    async with channel(queue) as asked:
        keda = Keda(pb2, asked, model="m", target="2.5")
        assert await keda.active() is False
        stream = keda.stream()
        assert (await stream.read()).result is False
        waiting = [queue.ask() for _ in range(3)]
        assert (await stream.read()).result is True
        async with asyncio.timeout(5):
            while (value := await keda.metrics()).metricValue != 3:
                await asyncio.sleep(0.01)
        assert (value.metricName, value.metricValueFloat) == ("headrace-ongoing-requests", 3.0)
        assert await keda.active() is True
        spec = await keda.spec()
        assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("headrace-ongoing-requests", 2, 2.5)
        async with V1Worker(queue.worker_url, "m", credit=3) as worker:
            jobs = [await worker.expect(wire.Job) for _ in waiting]
            assert (await keda.metrics()).metricValue == 3
            for job in jobs:
                await worker.result(job, body=PLAIN)
            await asyncio.gather(*waiting)
            assert (await stream.read()).result is False
            assert (await keda.metrics()).metricValue == 0


@pytest.mark.parametrize(
    ("metadata", "code", "said"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "metadata.model: missing"),
        ({"model": "m", "target": "0"}, grpc.StatusCode.INVALID_ARGUMENT, "metadata.target: '0'"),
        ({"model": "m", "target": "many"}, grpc.StatusCode.INVALID_ARGUMENT, "metadata.target: 'many'"),
        ({"model": "m", "activationTarget": "-1"}, grpc.StatusCode.INVALID_ARGUMENT, "metadata.activationTarget: '-1'"),
        ({"model": "m", "treshold": "1"}, grpc.StatusCode.INVALID_ARGUMENT, "metadata.treshold: no such setting"),
        ({"model": "other"}, grpc.StatusCode.NOT_FOUND, "'other'; known: m"),
    ],
)
async def test_what_cannot_be_answered_is_an_error(
    start: Start, pb2: Any, metadata: dict[str, str], code: grpc.StatusCode, said: str
) -> None:
    queue = await start(keda_port=0, models=("m",))
    async with channel(queue) as asked:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Keda(pb2, asked, **metadata).metrics()
        assert caught.value.code() is code
        assert said in str(caught.value.details())


async def test_any_replica_answers_for_all(start: Start, pb2: Any) -> None:
    """Two replicas, each with a request that waits; the name of all of them is one that resolves to both."""
    first = await start(models=("m",), host="127.0.0.1")
    admin = first.server.admin_port
    more = {"models": ("m",), "admin_port": admin, "keda_port": 0, "replicas": "localhost:1"}
    second = await start(host="127.0.0.2", **more)
    tasks = [first.ask(), second.ask(), second.ask()]
    async with channel(second) as asked:
        keda = Keda(pb2, asked, model="m")
        async with asyncio.timeout(5):
            while (await keda.metrics()).metricValue != 3:
                await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_adapters_count_and_activation_has_its_own_bound() -> None:
    from headrace_api.load import ModelLoad  # noqa: PLC0415

    trigger = Trigger.read({"model": "m", "activationTarget": "3", "scalerAddress": "queue:9091"})
    load = {"m": ModelLoad(queued=1), "m:poet": ModelLoad(running=2), "mm": ModelLoad(queued=9)}
    assert (trigger.ongoing(load), trigger.activation, trigger.target) == (3, 3.0, 10.0)
    assert trigger.ongoing({}) is None
