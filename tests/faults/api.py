"""The API server as the tests see it, past the proxy: any kind, no cache."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from headrace_api import inference_model as hrm
from headrace_api import names

Object = dict[str, Any]
Ref = tuple[str, str, str, str]
"""apiVersion, kind, namespace and name."""

_OTHERS = frozenset(
    {
        *("Event", "Pod", "ReplicaSet", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"),
        *("PodMetrics", "PodTemplate"),
    }
)
"""Kinds that Kubernetes' own controllers make from ours, and the record of what happened."""
CLOSE_SECONDS = 0.3
"""aiohttp closes connections with TLS only after its session, and says nothing of when."""
_BACKGROUND = {"propagationPolicy": "Background"}


class ApiError(Exception):
    """The API server's refusal, with its status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass
class Api:
    """Requests as the administrator, each tried again while the API server is away."""

    url: str
    session: aiohttp.ClientSession
    plurals: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of all namespaced kinds that can be listed, by apiVersion and kind."""

    async def discover(self) -> None:
        """Learn the kinds that there are."""
        groups = (await self.request("GET", "/apis"))["groups"]
        versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
        for version in versions:
            for one in (await self.request("GET", _root(version)))["resources"]:
                if one["namespaced"] and "list" in one["verbs"] and "/" not in one["name"]:
                    self.plurals[version, one["kind"]] = one["name"]

    async def request(
        self, verb: str, path: str, body: Any = None, content: str = "application/json", **query: str
    ) -> Object:
        """The decoded answer.

        Raises:
            ApiError: the API server refuses.
        """
        data = None if body is None else json.dumps(body)
        for pause in (*([0.2] * 150), None):
            try:
                async with self.session.request(
                    verb, self.url + path, data=data, params=query, headers={"Content-Type": content}
                ) as answer:
                    found: Object = json.loads(await answer.read())
                    if answer.status < 400:
                        return found
                    if answer.status not in {429, 503} or pause is None:
                        raise ApiError(answer.status, found.get("message", ""))
            except aiohttp.ClientError:
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError

    def path(self, item: Object) -> str:
        """Where the object is."""
        return f"{self._collection(item)}/{item['metadata']['name']}"

    def _collection(self, item: Object) -> str:
        plural = self.plurals[item["apiVersion"], item["kind"]]
        return f"{_root(item['apiVersion'])}/namespaces/{item['metadata']['namespace']}/{plural}"

    async def create(self, item: Object) -> Object:
        """POST."""
        return await self.request("POST", self._collection(item), item, fieldManager="test")

    async def get(self, item: Object) -> Object | None:
        """The live object of that kind and name."""
        try:
            return await self.request("GET", self.path(item))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def replace_spec(self, item: Object, spec: Any) -> Object:
        """PUT with another spec, as `kubectl replace`: what is absent from it goes back to its default."""
        while True:
            live = await self.get(item)
            assert live is not None
            try:
                return await self.request("PUT", self.path(item), {**live, "spec": spec}, fieldManager="test")
            except ApiError as error:
                if error.status != 409:
                    raise

    async def merge(self, item: Object, change: Object) -> Object:
        """PATCH with a merge patch, by somebody who is not the operator."""
        return await self.request(
            "PATCH", self.path(item), change, "application/merge-patch+json", fieldManager="somebody"
        )

    async def delete(self, item: Object) -> None:
        """DELETE in the background; nothing happens when it is gone."""
        try:
            await self.request("DELETE", self.path(item), _BACKGROUND)
        except ApiError as error:
            if error.status != 404:
                raise

    async def canonical(self, item: Object) -> Object:
        """What the API server would make of `item` if the operator applied it now; nothing is changed."""
        return await self.request(
            "PATCH",
            self.path(item),
            item,
            "application/apply-patch+yaml",
            fieldManager=names.MANAGED_BY,
            force="true",
            dryRun="All",
        )

    async def snapshot(self, namespace: str) -> dict[Ref, Object]:
        """Every object of the namespace, but for what Kubernetes' own controllers make."""
        kinds = [key for key in self.plurals if key[1] not in _OTHERS]
        lists = await asyncio.gather(*(self._list(*kind, namespace) for kind in kinds))
        return {ref(item): item for items in lists for item in items}

    async def pods(self, namespace: str) -> list[Object]:
        """The namespace's pods."""
        return await self._list("v1", "Pod", namespace)

    async def _list(self, version: str, kind: str, namespace: str) -> list[Object]:
        path = f"{_root(version)}/namespaces/{namespace}/{self.plurals[version, kind]}"
        items = (await self.request("GET", path))["items"]
        return [{"apiVersion": version, "kind": kind, **item} for item in items]


def ref(item: Object) -> Ref:
    """Which object it is."""
    return item["apiVersion"], item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


def is_model(found: Ref) -> bool:
    """Whether it is an InferenceModel."""
    return found[:2] == (hrm.API_VERSION, hrm.KIND)


def _root(version: str) -> str:
    return f"/api/{version}" if version == "v1" else f"/apis/{version}"


@asynccontextmanager
async def connect(url: str, token: str, certificate: str) -> AsyncIterator[Api]:
    """Requests with a bearer token; `certificate` is the authority's file."""
    connector = aiohttp.TCPConnector(limit=50, ssl=ssl.create_default_context(cafile=certificate))
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        api = Api(url, session)
        await api.discover()
        yield api
    await asyncio.sleep(CLOSE_SECONDS)
