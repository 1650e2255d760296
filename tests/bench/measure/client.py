"""A plain concurrent client of the API server: makes models, writes what an operator would, watches and counts."""

import asyncio
import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from headrace_api import inference_model as api
from headrace_api import names
from headrace_operator.kinds import CHILDREN, MODEL, by_name
from headrace_operator.plan import read_spec
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig
from tests.plane import Plane

Object = dict[str, Any]

NAMESPACE = "fleet"
CONFIG = RenderConfig(queue_url="http://headrace-queue.headrace.svc:8080", images={"LlamaCppEngine": "runtime:1"})
_CONNECTIONS = 16
_STATUS = {"observedGeneration": 1, "replicas": 0, "readyReplicas": 0, "workers": "0/1", "modelName": "m"}
_KINDS = by_name((MODEL, *CHILDREN))
_SAMPLE = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Client:
    """Requests to one API server, so many at a time."""

    session: aiohttp.ClientSession
    url: str

    async def send(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """One request; the answer must be a success."""
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers={"Content-Type": kind}) as answer:
            found = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {found[:500]!r}")
            content: Object = json.loads(found)
            return content

    async def make_namespace(self) -> None:
        """The namespace of all models."""
        await self.send("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

    async def make_models(self, count: int) -> list[Object]:
        """Create so many models; returns them as stored."""
        return await _together(self._make(number) for number in range(count))

    async def make_all(self, path: str, items: list[Object]) -> None:
        """Create objects of any kind."""
        await _together(self.send("POST", path, item) for item in items)

    async def _make(self, number: int) -> Object:
        return await self.send("POST", MODEL.path(NAMESPACE), model(number))

    async def write_all(self, count: int) -> None:
        """Create the models and write, for each, what the operator would: its children and one status."""
        await _together(self._write(number) for number in range(count))

    async def _write(self, number: int) -> None:
        stored = await self._make(number)
        apply = f"?fieldManager={names.MANAGED_BY}&force=true"
        for item in rendered(stored):
            path = f"{_KINDS[item['kind']].path(NAMESPACE)}/{item['metadata']['name']}"
            await self.send("PATCH", path + apply, item, "application/apply-patch+yaml")
        path = f"{MODEL.path(NAMESPACE)}/{stored['metadata']['name']}/status"
        await self.send("PATCH", path, {"status": _STATUS}, "application/merge-patch+json")

    async def count(self, path: str, selector: str = "") -> int:
        """How many objects there are."""
        return len((await self.send("GET", f"{path}?{selector}"))["items"])

    async def children(self) -> int:
        """How many children of all models there are."""
        labels = f"labelSelector={names.LABEL_MANAGED_BY}%3D{names.MANAGED_BY}"
        return sum([await self.count(kind.path(NAMESPACE), labels) for kind in CHILDREN])

    async def events(self) -> int:
        """How many Events the operator has written."""
        answer = await self.send("GET", f"/api/v1/namespaces/{NAMESPACE}/events")
        return sum(item.get("reportingComponent") == names.MANAGED_BY for item in answer["items"])

    async def writes(self) -> Counter[str]:
        """What the API server has counted so far of the operator's kinds of writes, by `resource/subresource`.

        Only the operator applies server-side here, patches the status of models and deletes children of them.
        """
        async with self.session.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        found: Counter[str] = Counter()
        children_of = {kind.plural for kind in CHILDREN}
        for sample in _SAMPLE.finditer(text):
            labels = dict(_LABEL.findall(sample[1]))
            resource, subresource, verb = labels["resource"], labels["subresource"], labels["verb"]
            if (verb in {"APPLY", "PATCH"} and resource in {*children_of, api.PLURAL}) or (
                verb == "DELETE" and resource in children_of
            ):
                found[f"{resource}/{subresource}".strip("/")] += int(float(sample[2]))
        return found

    async def watch_models(self) -> AsyncIterator[Object]:
        """Every state of every model; a watch that the API server ends begins anew with all that there is."""
        path = f"{self.url}{MODEL.path(NAMESPACE)}?watch=true"
        while True:
            async with self.session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
                rest = b""
                async for data in answer.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        yield json.loads(line)["object"]


@asynccontextmanager
async def connected(plane: Plane) -> AsyncIterator[Client]:
    """A client of the plane's administrator."""
    context = ssl.create_default_context(cafile=str(plane.certificate))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {plane.tokens['admin']}"}
    connector = aiohttp.TCPConnector(ssl=context, limit=_CONNECTIONS + 1)
    async with aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=2**20) as session:
        yield Client(session, plane.url)


def model(number: int) -> Object:
    """A model of the fleet."""
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {"name": f"model-{number}", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "engine": {"type": "LlamaCppEngine", "modelId": f"fleet/model-{number}", "maxTotalTokens": 4096},
            "queue": {"tags": ["fleet"]},
        },
    }


def rendered(stored: Object) -> list[Object]:
    """A stored model's children."""
    spec = read_spec(stored, CONFIG)
    if not isinstance(spec, api.InferenceModelSpec):
        raise TypeError(f"the benchmark's model is not valid: {spec.message}")
    return children(stored["metadata"], spec, CONFIG)


async def _together(tasks: Iterable[Awaitable[Any]]) -> list[Any]:
    """All of them, as many at a time as there are connections."""
    free = asyncio.Semaphore(_CONNECTIONS)

    async def one(task: Awaitable[Any]) -> Any:
        async with free:
            return await task

    return await asyncio.gather(*(one(task) for task in tasks))
