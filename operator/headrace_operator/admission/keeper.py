"""Keeps the webhook's certificate current, and the API server's trust in it."""

import asyncio
import base64
import binascii
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from headrace_operator.admission import certificates
from headrace_operator.admission.certificates import Pair
from headrace_operator.observed import Object

KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_ADMISSION_API = "admissionregistration.k8s.io/v1"
_RETRY_SECONDS = 2.0
_CHECK_SECONDS = 20.0

_log = structlog.get_logger()


class Configurations(Protocol):
    """The webhook configurations in the API server."""

    async def get(self, item: Object) -> Object | None:
        """The live object; None when there is none."""

    async def apply(self, item: Object) -> Object:
        """Server-side apply."""


@dataclass
class FileKeeper:
    """Serves the pair of a mounted Secret, and what it is replaced by."""

    folder: Path
    context: ssl.SSLContext
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: Pair | None = None

    @property
    def expires(self) -> datetime | None:
        """When the certificate that is served ends; None when none is served."""
        return self._serving.expires if self._serving else None

    async def run(self) -> None:
        """Read the files again and again until cancelled."""
        while True:
            try:
                self._refresh()
                delay = _CHECK_SECONDS
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                _log.warning("cannot read the webhook's certificate", folder=str(self.folder), error=repr(error)[:300])
                delay = _RETRY_SECONDS
            await asyncio.sleep(delay)

    def _refresh(self) -> None:
        pair = certificates.read(self.folder)
        if pair != self._serving:
            certificates.load(self.context, pair)
            self._serving = pair
            _log.info("the webhook serves a certificate from files", expires=pair.expires.isoformat())
        self.ready.set()


@dataclass
class OwnKeeper:
    """Makes the pair, tells the API server to trust it, and makes another one before it ends."""

    host: str
    """The DNS name by which the API server calls: `<service>.<namespace>.svc`."""
    configuration: str
    """The name that both webhook configurations have."""
    cluster: Configurations
    context: ssl.SSLContext
    now: Callable[[], datetime]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: Pair | None = None

    @property
    def expires(self) -> datetime | None:
        """When the certificate that is served ends; None when none is served."""
        return self._serving.expires if self._serving else None

    async def run(self) -> None:
        """Check every 20 seconds until cancelled; somebody may have written the configurations anew."""
        said = ""
        while True:
            try:
                await self._refresh()
                said, delay = "", _CHECK_SECONDS
            except Exception as error:  # noqa: BLE001  # whatever it is, the next attempt may succeed
                before, said = said, f"{type(error).__name__}: {error}"[:300]
                if said != before:
                    _log.warning("the API server does not trust the webhook yet, trying again", error=said)
                delay = _RETRY_SECONDS
            await asyncio.sleep(delay)

    async def _refresh(self) -> None:
        """Trust comes before use, so that a renewal refuses nobody."""
        pair = self._serving
        if pair is None or pair.expires - self.now() < certificates.RENEW_BEFORE:
            pair = certificates.issue(self.host, self.now())
        for kind in KINDS:
            await self._trust(kind, pair)
        if pair != self._serving:
            certificates.load(self.context, pair)
            self._serving = pair
            _log.info("the webhook serves a certificate of its own", host=self.host, expires=pair.expires.isoformat())
        self.ready.set()

    async def _trust(self, kind: str, pair: Pair) -> None:
        item = {"apiVersion": _ADMISSION_API, "kind": kind, "metadata": {"name": self.configuration}}
        live = await self.cluster.get(item)
        if live is None:
            raise LookupError(f"there is no {kind} {self.configuration}")
        if change := trusting(live, pair.certificate, self.now()):
            await self.cluster.apply({**item, **change})


def trusting(live: Object, certificate: bytes, now: datetime) -> Object | None:
    """What to apply to a webhook configuration so that it trusts `certificate`; None when it does.

    Only `caBundle` of each webhook is named, so that server-side apply leaves the rest to whoever installed it. The
    resource version makes two replicas that write at the same moment both come through, one after the other.
    """
    webhooks = live.get("webhooks") or []
    present = [_bundle_of(webhook) for webhook in webhooks]
    if all(certificates.holds(pem, certificate) for pem in present):
        return None
    changed = [
        {"name": webhook["name"], "clientConfig": {"caBundle": _encoded(certificates.bundle(pem, certificate, now))}}
        for webhook, pem in zip(webhooks, present, strict=True)
    ]
    metadata = live["metadata"]
    return {
        "metadata": {"name": metadata["name"], "resourceVersion": metadata["resourceVersion"]},
        "webhooks": changed,
    }


def _bundle_of(webhook: Object) -> bytes:
    try:
        return base64.b64decode(webhook["clientConfig"].get("caBundle") or "", validate=True)
    except binascii.Error:
        return b""


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
