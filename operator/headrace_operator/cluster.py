"""The Kubernetes API as the reconciler needs it: the only module that imports the Kubernetes client."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

import aiohttp
import msgspec
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from headrace_api import inference_model as api
from headrace_api import names
from headrace_operator.election.fence import FencedRequest, fenced
from headrace_operator.kinds import Kind, by_name, watched
from headrace_operator.observed import Object
from headrace_operator.reconcile import Refused
from headrace_operator.work_queue import Unavailable

_OTHERS = {
    "Event": Kind("Event", "", "v1", "events"),
    **{
        name: Kind(name, "admissionregistration.k8s.io", "v1", f"{name.lower()}s")
        for name in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    },
    "CustomResourceDefinition": Kind(
        "CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions"
    ),
}
"""What is written and not watched."""

_UNTYPED = "failed to create typed patch object"
"""How the API server says, with status 500, that an applied object has unknown fields or list items without a key."""
_TIMEOUT_SECONDS = 30.0
_PAGE = 500
"""Objects in one page of a list, which is parsed as a whole."""
_CONNECTIONS = 16
"""Requests in flight; each has a connection, which is used again."""
_CONFLICTS = 3
"""How often a write that crossed another one is sent."""
_NEVER = "1"
"""A resource version that no object has: with it server-side apply only creates."""

_REFUSALS = frozenset({400, 403, 404, 413, 422})
"""Answers that say that a write will not go through as it is; all others are worth another try."""
_OVERLOADED = frozenset({429, 503})
"""Answers that concern all requests, not this one."""


class _Metadata(TypedDict, total=False):
    """What `Kind.key` and `Resync` read of an object's metadata; the rest of a list, most of it, is skipped over."""

    uid: str
    name: str
    namespace: str
    labels: dict[str, str] | None
    ownerReferences: list[Object] | None


class _Listed(TypedDict):
    metadata: _Metadata


_Continued = TypedDict("_Continued", {"continue": str}, total=False)


class _Page(TypedDict):
    metadata: _Continued
    items: list[_Listed] | None


_ANYTHING = msgspec.json.Decoder()
_METADATA = msgspec.json.Decoder(_Page)
"""Ten thousands of objects are listed again and again: this decoder takes a tenth of the time for them."""


class NotWriting(Exception):  # noqa: N818
    """This process may not write now: another one leads."""


@asynccontextmanager
async def connect(
    *,
    in_cluster: bool,
    traces: Sequence[aiohttp.TraceConfig] = (),
    may_write: Callable[[], bool] = lambda: True,
) -> AsyncIterator["KubernetesCluster"]:
    """A client with the pod's service account, or outside a cluster with the user's kubeconfig.

    Args:
        in_cluster: whether to use the pod's service account.
        traces: are told of every request.
        may_write: asked before every write; no write is sent while it says no.
    """
    configuration = client.Configuration(trace_configs=list(traces))
    configuration.connection_pool_maxsize = _CONNECTIONS
    # trust_env: else aiohttp reads ~/.netrc before each request; the watches know no proxy but the kubeconfig's either
    configuration.client_session_kwargs = {"request_class": FencedRequest, "trust_env": False}
    if in_cluster:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with client.ApiClient(configuration) as connection:
        connection.user_agent = names.MANAGED_BY
        yield KubernetesCluster(DynamicClient(connection), may_write)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class KubernetesCluster:
    """Writes objects with server-side apply, as one field manager."""

    requests: DynamicClient
    may_write: Callable[[], bool]

    async def get(self, item: Object) -> Object | None:
        """The live object with the kind, namespace and name of `item`; None when there is none."""
        try:
            return await self._request("get", _path(item))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows `kind`."""
        group = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        try:
            answer = await self._request("get", group)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in answer["resources"])

    async def create(self, item: Object) -> Object | None:
        """Server-side apply that only creates; None when there is an object of that name, whosever it is.

        Raises:
            Refused: the API server does not accept the object.
        """
        first = {**item, "metadata": {**item["metadata"], "resourceVersion": _NEVER}}
        try:
            return await self._apply(first)
        except ApiException as error:
            if error.status == 409:
                return None
            raise

    async def apply(self, item: Object) -> Object:
        """Server-side apply; takes over fields that somebody else set. Returns the object as it is now.

        Raises:
            Refused: the API server does not accept the object.
        """
        return await _despite_conflicts(lambda: self._apply(item))

    async def remove(self, item: Object, pointers: Sequence[str]) -> Object | None:
        """Take parts from an object that others may own; returns the object as it is now.

        Args:
            item: the object as it was read.
            pointers: JSON pointers of the parts, in the order in which they go.

        Returns:
            None when the object has changed since it was read, is gone, or is not valid without the parts.
        """
        seen = "generation" if "generation" in item["metadata"] else "resourceVersion"
        unchanged = {"op": "test", "path": f"/metadata/{seen}", "value": item["metadata"][seen]}
        patch = [unchanged, *({"op": "remove", "path": pointer} for pointer in pointers)]
        try:
            return await self._write("patch", _path(item), patch, "application/json-patch+json")
        except ApiException as error:
            if error.status in {*_REFUSALS, 409}:
                return None
            raise

    async def replace(self, item: Object) -> Object:
        """Put `item` in the place of the object that it was read from; returns the object as it is now.

        Raises:
            ApiException: the API server does not take it, or (409) somebody else has changed the object meanwhile.
        """
        return await self._write("put", _path(item), item)

    async def delete(self, item: Object) -> bool:
        """Delete the object and, in the background, what it owns; returns False when it was gone already."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": item["metadata"]["uid"]}}
        try:
            await self._write("delete", _path(item), body)
        except ApiException as error:
            if error.status not in {404, 409}:  # 409: another object of that name has taken its place
                raise
            return False
        return True

    async def patch_status(self, model: Object, status: Object) -> Object | None:
        """Merge `status` into the model's status subresource; returns the model, None when it is gone."""
        path, kind = f"{_path(model)}/status", "application/merge-patch+json"
        try:
            return await _despite_conflicts(lambda: self._write("patch", path, {"status": status}, kind))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def annotate(self, item: Object, annotations: dict[str, str]) -> None:
        """Merge annotations into a live object, which is not taken over; nothing happens when it is gone.

        Raises:
            Refused: the API server does not accept it.
        """
        try:
            await self._write(
                "patch", _path(item), {"metadata": {"annotations": annotations}}, "application/merge-patch+json"
            )
        except ApiException as error:
            if error.status in _REFUSALS - {404}:
                raise _refused(item, error) from error
            if error.status != 404:
                raise

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event about the model; `kind` is Normal or Warning."""
        item = _event(model, kind, reason, message, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        await self._write("post", _KINDS["Event"].path(item["metadata"]["namespace"]), item)

    async def list_metadata(self, kind: Kind, namespace: str | None) -> AsyncIterator[Object]:
        """The objects of `kind` that are watched, their metadata only, in one namespace or in all."""
        metadata_only = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
        async for item in self._pages(kind.path(namespace), metadata_only, kind.labels, _METADATA):
            yield item

    async def list_nodes(self) -> AsyncIterator[Object]:
        """All nodes.

        Raises:
            PermissionError: this operator may not list them.
        """
        try:
            async for node in self._pages("/api/v1/nodes"):
                yield node
        except ApiException as error:
            if error.status == 403:
                raise PermissionError(_message(error)) from error
            raise

    async def _pages(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        labels: str = "",
        decoder: msgspec.json.Decoder[Any] = _ANYTHING,
    ) -> AsyncIterator[Object]:
        more: str | None = None
        while True:
            answer = await self._request(
                "get",
                path,
                label_selector=labels or None,
                limit=_PAGE,
                _continue=more,
                header_params=dict(headers or {}),
                decoder=decoder,
            )
            for item in answer["items"] or []:  # null when there are none
                yield item
            if not (more := answer["metadata"].get("continue")):
                return

    async def _apply(self, item: Object) -> Object:
        try:
            return await self._write("patch", _path(item), item, "application/apply-patch+yaml", force_conflicts=True)
        except ApiException as error:
            if error.status in _REFUSALS or _UNTYPED in _message(error):
                raise _refused(item, error) from error
            raise

    async def _write(
        self, verb: str, path: str, body: Object | list[Object], kind: str = "application/json", **options: Any
    ) -> Object:
        if not self.may_write():
            raise NotWriting(f"{verb} {path}")
        options |= {"body": body, "content_type": kind, "field_manager": names.MANAGED_BY}
        with fenced(self.may_write):
            return await self._request(verb, path, **options)

    async def _request(
        self, verb: str, path: str, decoder: msgspec.json.Decoder[Any] = _ANYTHING, **options: Any
    ) -> Object:
        try:
            response = await self.requests.request(
                verb, path, serialize=False, _request_timeout=_TIMEOUT_SECONDS, **options
            )
            answer: Object = decoder.decode(await response.read())
        except ApiException as error:
            if error.status in _OVERLOADED:
                raise Unavailable(f"{verb} {path}: {error.status} {_message(error)}", _retry_after(error)) from error
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{verb} {path}: {error!r}") from error
        return answer


async def _despite_conflicts(send: Callable[[], Awaitable[Object]]) -> Object:
    """Send again at once what crossed another write: the API server merges it with what is there now."""
    for _ in range(_CONFLICTS - 1):
        try:
            return await send()
        except ApiException as error:
            if error.status != 409:
                raise
    return await send()


_KINDS = {**by_name(watched(pod_monitors=True)), **_OTHERS}


def _path(item: Object) -> str:
    metadata = item["metadata"]
    return f"{_KINDS[item['kind']].path(metadata.get('namespace'))}/{metadata['name']}"


def _refused(item: Object, error: ApiException) -> Refused:
    return Refused(f"{item['kind']} {item['metadata']['name']}: {_message(error)}")


def _message(error: ApiException) -> str:
    """Return what the API server said: the message of its Status object."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _retry_after(error: ApiException) -> float | None:
    """Read the answer's `Retry-After`, in seconds; None where there is none, or it is a date."""
    text = (error.headers or {}).get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _event(model: Object, kind: str, reason: str, message: str, now: str) -> Object:
    metadata = model["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": api.API_VERSION,
            "kind": api.KIND,
            **{key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": names.MANAGED_BY},
        "reportingComponent": names.MANAGED_BY,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
