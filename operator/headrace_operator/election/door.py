"""Puts the election together for the composition root."""

from kubernetes.aio.dynamic import DynamicClient
from prometheus_client import CollectorRegistry

from headrace_operator.election.candidate import Candidate
from headrace_operator.election.leadership import Leadership
from headrace_operator.election.store import LeaseStore
from headrace_operator.settings import LeaseSettings

__all__ = ["Candidate", "candidate"]


def candidate(
    settings: LeaseSettings | None, leadership: Leadership, requests: DynamicClient, registry: CollectorRegistry
) -> Candidate | None:
    """The candidate; None where there is no election, and then `leadership` is held for ever."""
    if settings is None:
        leadership.hold_until(float("inf"))
        return None
    # a request that hangs leaves time for another one before the deadline
    store = LeaseStore(requests, settings.namespace, settings.name, timeout_seconds=settings.renew_seconds / 3)
    return Candidate(store, leadership, settings, registry)
