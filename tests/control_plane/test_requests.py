"""The client of the Kubernetes API, against the real API server and against one that answers badly."""

import asyncio
import json

import aiohttp
import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client.exceptions import ApiException
from tests.plane import free_port

from headrace_operator import cluster as clusters
from headrace_operator.cluster import NotWriting
from headrace_operator.drift import differs, surplus
from headrace_operator.kinds import CHILDREN, POD, POD_MONITOR
from headrace_operator.plan import read_spec
from headrace_operator.reconcile import Refused
from headrace_operator.render.children import children
from headrace_operator.work_queue import Unavailable

from .conftest import CONFIG

pytestmark = pytest.mark.cluster  # the control plane's programs are built for it

KUBECONFIG = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
"""The variable KUBECONFIG is read once, when the client is imported."""


@pytest.fixture
async def client(plane, monkeypatch):
    monkeypatch.setattr(KUBECONFIG, str(plane.kubeconfig))
    async with clusters.connect(in_cluster=False) as connection:
        yield connection


def rendered(name):
    model = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001"},
        "spec": {"replicas": 0, "engine": {"type": "LlamaCppEngine", "modelId": "m"}},
    }
    items = children(model["metadata"], read_spec(model, CONFIG), CONFIG)
    for item in items:
        del item["metadata"]["ownerReferences"]  # the garbage collector would remove what nobody owns
    return items


@pytest.mark.parametrize("kind", [kind.name for kind in CHILDREN])
async def test_a_first_write_creates_and_takes_nothing_over(client, kind):
    item = next(one for one in rendered("first") if one["kind"] == kind)
    made = await client.create(item)
    assert made["metadata"]["name"] == item["metadata"]["name"]
    again = {**item, "metadata": {**item["metadata"], "labels": {"mine": "yes"}}}
    assert await client.create(again) is None
    assert (await client.get(item))["metadata"]["labels"] == made["metadata"]["labels"]


async def test_an_equal_apply_changes_nothing_and_foreign_fields_stay(client, plane):
    item = next(one for one in rendered("same") if one["kind"] == "Service")
    await client.create(item)
    plane.kubectl("annotate", "service", item["metadata"]["name"], "example.com/other=kept")
    before = await client.get(item)
    after = await client.apply(item)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert after["metadata"]["annotations"]["example.com/other"] == "kept"


ADDED = {
    "Deployment": [{"op": "add", "path": "/spec/template/spec/containers/0/env/0", "value": {"name": "FOO"}}],
    "Service": [{"op": "add", "path": "/spec/ports/0", "value": {"name": "other", "port": 9999}}],
}


@pytest.mark.parametrize("kind", ADDED)
async def test_what_others_add_to_a_list_outlives_an_apply_and_can_be_removed(client, plane, kind):
    item = next(one for one in rendered("added") if one["kind"] == kind)
    made = await client.create(item)
    name = item["metadata"]["name"]
    plane.kubectl("patch", kind, name, "--type=json", f"--patch={json.dumps(ADDED[kind])}")
    seen = await client.apply(item)
    assert differs({**item, "metadata": {}}, seen)
    added = list(surplus({**item, "metadata": {}}, seen))
    change = {"Deployment": {"spec": {"minReadySeconds": 1}}, "Service": {"metadata": {"labels": {"x": "y"}}}}[kind]
    plane.kubectl("patch", kind, name, f"--patch={json.dumps(change)}")
    assert await client.remove(seen, added) is None  # it has changed meanwhile
    now = await client.remove(await client.apply(item), added)
    assert not differs(item, now)
    assert {**now["spec"], "minReadySeconds": None} == {**made["spec"], "minReadySeconds": None}
    assert (await client.apply(item))["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]


async def test_what_the_api_server_serves(client):
    assert await client.serves(POD)
    assert not await client.serves(POD_MONITOR)


async def test_lists_are_whole_whatever_the_size_of_a_page(client, monkeypatch):
    monkeypatch.setattr(clusters, "_PAGE", 2)
    kind = next(kind for kind in CHILDREN if kind.name == "ConfigMap")
    for number in range(5):
        await client.create(next(one for one in rendered(f"page-{number}") if one["kind"] == "ConfigMap"))
    names = [item["metadata"]["name"] async for item in client.list_metadata(kind, "default")]
    assert len(names) == len(set(names)) >= 5


async def test_no_write_is_sent_while_another_one_leads(plane, monkeypatch):
    monkeypatch.setattr(KUBECONFIG, str(plane.kubeconfig))
    item = rendered("follower")[0]
    sent = []
    trace = aiohttp.TraceConfig()

    async def note(_session, _context, request):
        sent.append(request.method)

    trace.on_request_start.append(note)
    async with clusters.connect(in_cluster=False, traces=[trace], may_write=lambda: False) as connection:
        with pytest.raises(NotWriting):
            await connection.create(item)
        assert sent == []
        assert await connection.get(item) is None
        assert sent == ["GET"]


@pytest.fixture
async def bad_server(tmp_path, monkeypatch):
    """An API server that gives the answers of a list, one after the other."""
    answers = []
    requests = []

    async def handle(request):
        requests.append(request.method)
        status, headers = answers.pop(0)
        await asyncio.sleep(0)
        body = {"kind": "Status", "message": "said by the server", "metadata": {"name": "x", "resourceVersion": "1"}}
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bad", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "bad", "context": {"cluster": "bad", "user": "bad"}}],
        "users": [{"name": "bad", "user": {}}],
        "current-context": "bad",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setattr(KUBECONFIG, str(tmp_path / "config"))
    yield answers, requests, runner
    await runner.cleanup()


MODEL = {"kind": "InferenceModel", "metadata": {"name": "x", "namespace": "default"}}


async def test_an_overloaded_server_says_when_to_come_again(bad_server):
    answers, _, _ = bad_server
    answers += [(429, {"Retry-After": "7"}), (503, {})]
    async with clusters.connect(in_cluster=False) as connection:
        with pytest.raises(Unavailable, match="said by the server") as error:
            await connection.patch_status(MODEL, {})
        assert error.value.seconds == 7
        with pytest.raises(Unavailable) as error:
            await connection.patch_status(MODEL, {})
        assert error.value.seconds is None


async def test_a_write_that_crossed_another_is_sent_again_at_once(bad_server):
    answers, requests, _ = bad_server
    answers += [(409, {}), (409, {}), (200, {})]
    async with clusters.connect(in_cluster=False) as connection:
        assert await connection.patch_status(MODEL, {})
    assert requests == ["PATCH"] * 3


async def test_an_annotation_that_is_not_allowed_is_refused_and_one_of_what_is_gone_is_nothing(bad_server):
    answers, _, _ = bad_server
    answers += [(403, {}), (404, {}), (500, {})]
    pod = {"kind": "Pod", "metadata": {"name": "x", "namespace": "default"}}
    async with clusters.connect(in_cluster=False) as connection:
        with pytest.raises(Refused, match="Pod x: said by the server"):
            await connection.annotate(pod, {"a": "1"})
        await connection.annotate(pod, {"a": "1"})
        with pytest.raises(ApiException):
            await connection.annotate(pod, {"a": "1"})


async def test_a_server_that_is_away_is_unavailable(bad_server):
    _, _, runner = bad_server
    await runner.cleanup()
    async with clusters.connect(in_cluster=False) as connection:
        with pytest.raises(Unavailable):
            await connection.get(MODEL)
