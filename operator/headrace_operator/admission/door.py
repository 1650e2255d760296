"""Puts the webhook together for the composition root: its server, and whoever keeps its certificate."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from headrace_api.rules.finding import Facts
from headrace_operator.admission import server
from headrace_operator.admission.keeper import Configurations, FileKeeper, OwnKeeper
from headrace_operator.admission.metrics import AdmissionMetrics
from headrace_operator.settings import WebhookSettings

Keeper = FileKeeper | OwnKeeper


def keeper(settings: WebhookSettings, cluster: Configurations) -> Keeper:
    """The certificate's keeper: of files where a folder is given, else of one that the operator makes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if settings.certificates:
        return FileKeeper(settings.certificates, context)
    return OwnKeeper(settings.host, settings.configuration, cluster, context, lambda: datetime.now(UTC))


@asynccontextmanager
async def serve(
    settings: WebhookSettings | None, kept: Keeper | None, registry: CollectorRegistry, facts: Facts
) -> AsyncIterator[None]:
    """Serve the webhook, if there is to be one."""
    if settings is None or kept is None:
        yield
        return
    async with server.serve(settings.port, kept.context, AdmissionMetrics(registry), facts):
        yield
