"""Requests to the API server, counted where they are sent: through aiohttp's tracing."""

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram
from yarl import URL

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_APPLY = "application/apply-patch+yaml"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_NO_ANSWER = "none"


class ApiMetrics:
    """How many requests, how they ended and how long their answers took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "headrace_operator_api_requests",
            "Requests to the API server by verb, resource and HTTP status (none: no answer came).",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "headrace_operator_api_request_seconds",
            "Time until the API server answered.",
            ["verb"],
            registry=registry,
            buckets=_SECONDS,
        )

    def trace(self) -> aiohttp.TraceConfig:
        """What a client session has to be given for its requests to be counted."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._began)
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._failed)
        return trace

    async def _began(self, _: Any, context: SimpleNamespace, __: aiohttp.TraceRequestStartParams) -> None:
        context.began = time.perf_counter()

    async def _answered(self, _: Any, context: SimpleNamespace, ended: aiohttp.TraceRequestEndParams) -> None:
        self._count(context, ended, str(ended.response.status))

    async def _failed(self, _: Any, context: SimpleNamespace, ended: aiohttp.TraceRequestExceptionParams) -> None:
        self._count(context, ended, _NO_ANSWER)

    def _count(
        self,
        context: SimpleNamespace,
        ended: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
        code: str,
    ) -> None:
        verb, resource = meaning(ended.method, ended.url, ended.headers)
        self._requests.labels(verb=verb, resource=resource, code=code).inc()
        self._seconds.labels(verb=verb).observe(time.perf_counter() - context.began)


def meaning(method: str, url: URL, headers: Mapping[str, str]) -> tuple[str, str]:
    """The verb of a request as RBAC and audit name it (apply apart from patch), and its resource with a subresource.

    What is no resource (`/version`, `/apis`) is `other`, so that the number of labels is bounded.
    """
    parts = [part for part in url.path.split("/") if part]
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:] if parts[:1] == ["apis"] else []
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    resource, name, subresource = [*rest, "", "", ""][:3]
    if not resource:
        return method.lower(), "other"
    return _verb(method, url, headers, named=bool(name)), f"{resource}/{subresource}" if subresource else resource


def _verb(method: str, url: URL, headers: Mapping[str, str], *, named: bool) -> str:
    if method == "GET":
        if url.query.get("watch") in {"true", "1"}:
            return "watch"
        return "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    if method == "PATCH" and headers.get("Content-Type") == _APPLY:
        return "apply"
    return _VERBS.get(method, method.lower())
