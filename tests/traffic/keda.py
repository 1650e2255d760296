"""KEDA's own programs beside the cluster: they scale the model that sleeps, and Headrace does not.

They are given as a folder with `operator`, `adapter` and `crds/`, as a checkout of KEDA builds and has them. Both run
on the host; the API server finds the adapter, from which the HorizontalPodAutoscaler has its figures, by a Service.
"""

import asyncio
import contextlib
import os
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path

from embedded import layout, local
from tests.traffic.models import SLEEPER
from tests.traffic.shell import MODELS, NAMESPACE, Object, apply, get, kubectl, run
from tests.traffic.site import RELEASE, asleep, until

TARGET = 8
"""Requests for each worker."""
_KEDA = "keda"
_PORTS = {"adapter": 16443, "metrics": 19666, "page": 16080}
_SERVICE = "keda-metrics-apiserver"
_GROUP, _VERSION = "external.metrics.k8s.io", "v1beta1"


@contextlib.asynccontextmanager
async def scaling(folder: Path) -> AsyncIterator[None]:
    """KEDA runs and scales the sleeper."""
    with tempfile.TemporaryDirectory(prefix="headrace-keda-") as name:
        certificates = Path(name)
        await _certificate(certificates)
        try:
            await kubectl("apply", "--server-side", "-f", str(folder / "crds"))
            await apply(*_found_by_the_api_server(), namespace=_KEDA)
            async with (
                _program(folder / "operator", *_operator(certificates)),
                _program(folder / "adapter", *_adapter(certificates)),
            ):
                await apply(await _scaled_object())
                await until("KEDA has made its autoscaler", _autoscaler, 60)
                yield
                await kubectl("delete", "scaledobjects.keda.sh", SLEEPER, "--wait")  # KEDA must let go of it
        finally:
            await kubectl("delete", f"apiservice/{_VERSION}.{_GROUP}", f"namespace/{_KEDA}", "--ignore-not-found")
            await kubectl("delete", "-f", str(folder / "crds"), "--ignore-not-found", "--wait=false")


async def has_scaled() -> list[str]:
    """What KEDA and its autoscaler have done, once the model is back at zero."""

    async def counted() -> bool:
        return bool((await _hpa())["status"].get("currentMetrics"))

    await until("the autoscaler has figures from KEDA", counted, 60)
    hpa = await _hpa()
    await until("KEDA has taken the model back to zero", asleep)
    model = await get(MODELS, SLEEPER)
    said = {one["type"]: f"{one['status']} {one['reason']}" for one in hpa["status"]["conditions"]}
    return [
        f"KEDA's autoscaler: {hpa['status'].get('currentReplicas')} replicas, {said}",
        f"the model's scaling: {model['status']['scaling']}",
    ]


async def _hpa() -> Object:
    return await get("horizontalpodautoscalers.autoscaling", f"keda-hpa-{SLEEPER}")


async def _autoscaler() -> str:
    return await kubectl("get", "hpa", f"keda-hpa-{SLEEPER}", "--ignore-not-found", "--output=name")


async def _scaled_object() -> Object:
    """By a port of the node, as KEDA is not in the cluster."""
    service = f"{RELEASE}-queue-keda"
    await kubectl("patch", "service", service, "--patch", '{"spec": {"type": "NodePort"}}')
    (port,) = (await get("service", service))["spec"]["ports"]
    metadata = {
        "scalerAddress": f"{layout.Node(1).address}:{port['nodePort']}",
        "model": f"traffic/{SLEEPER}",
        "target": str(TARGET),
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": SLEEPER, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "name": SLEEPER},
            "minReplicaCount": 0,
            "maxReplicaCount": 2,
            "pollingInterval": 2,
            "cooldownPeriod": 45,  # seconds; its autoscaler looks every 15 and not at zero
            "triggers": [{"type": "external-push", "metadata": metadata}],
        },
    }


def _found_by_the_api_server() -> list[Object]:
    """The adapter's API, behind a Service without pods."""
    name = {"name": _SERVICE, "namespace": _KEDA}
    https = {"name": "https", "port": 443, "protocol": "TCP"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _KEDA}},
        {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": {"ports": [https]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**name, "labels": {"kubernetes.io/service-name": _SERVICE}},
            "addressType": "IPv4",
            "ports": [{**https, "port": _PORTS["adapter"]}],
            "endpoints": [{"addresses": [layout.HOST_ADDRESS]}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {
                "service": name,
                "group": _GROUP,
                "version": _VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
            },
        },
    ]


def _operator(certificates: Path) -> list[str]:
    return [
        f"--cert-dir={certificates}",
        f"--metrics-service-bind-address=127.0.0.1:{_PORTS['metrics']}",
        "--enable-prometheus-metrics=false",
        "--health-probe-bind-address=0",
    ]


def _adapter(certificates: Path) -> list[str]:
    kubeconfig = local.kubeconfig()
    return [
        f"--cert-dir={certificates}",
        f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}",
        f"--secure-port={_PORTS['adapter']}",
        f"--port={_PORTS['page']}",
        f"--metrics-service-address=127.0.0.1:{_PORTS['metrics']}",
        *(f"--{part}kubeconfig={kubeconfig}" for part in ("lister-", "authentication-", "authorization-")),
    ]


@contextlib.asynccontextmanager
async def _program(program: Path, *options: str) -> AsyncIterator[None]:
    """Its log lies beside it."""
    environment = {**os.environ, "KUBECONFIG": str(local.kubeconfig()), "POD_NAMESPACE": _KEDA, "WATCH_NAMESPACE": ""}
    environment["KEDA_CLUSTER_OBJECT_NAMESPACE"] = _KEDA
    with program.with_suffix(".log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *options, stdin=DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _certificate(folder: Path) -> None:
    """One for both programs, which is its own authority."""
    names = f"subjectAltName=DNS:localhost,DNS:{_SERVICE}.{_KEDA}.svc,IP:127.0.0.1"
    files = ("-keyout", folder / "tls.key", "-out", folder / "tls.crt")
    made = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=keda", "-addext", names)
    await run("openssl", "req", *made, *files)
    (folder / "ca.crt").write_bytes((folder / "tls.crt").read_bytes())
