"""The webhook's certificate and the bundle that trusts it, tried in real TLS connections."""

import asyncio
import base64
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from headrace_operator.admission import certificates, keeper

HOST = "headrace-operator.models.svc"
NOW = datetime.now(UTC).replace(microsecond=0)


def server_context(pair):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificates.load(context, pair)
    return context


async def connects(context, trusted, host=HOST):
    """Whether a client that trusts only `trusted` connects to a server with `context`."""

    async def close(_, writer):
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=trusted.decode())
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
        return True


async def test_a_certificate_is_trusted_for_its_host_and_by_its_bundle_only():
    pair, other = certificates.issue(HOST, NOW), certificates.issue(HOST, NOW)
    assert await connects(server_context(pair), pair.certificate)
    assert not await connects(server_context(pair), other.certificate)
    assert not await connects(server_context(pair), pair.certificate, "headrace-operator.other.svc")
    assert not await connects(server_context(certificates.issue(HOST, NOW - timedelta(days=40))), pair.certificate)


async def test_a_renewed_certificate_is_served_without_a_new_server():
    old, new = certificates.issue(HOST, NOW), certificates.issue(HOST, NOW)
    context = server_context(old)
    both = certificates.bundle(old.certificate, new.certificate, NOW)
    assert await connects(context, both)
    certificates.load(context, new)
    assert await connects(context, both)
    assert not await connects(context, old.certificate)


def test_a_bundle_keeps_what_others_may_serve_and_drops_what_is_over():
    mine, other = certificates.issue(HOST, NOW), certificates.issue(HOST, NOW - timedelta(days=1))
    over = certificates.issue(HOST, NOW - certificates.VALID - timedelta(days=1))
    bundle = certificates.bundle(other.certificate + over.certificate, mine.certificate, NOW)
    assert certificates.holds(bundle, mine.certificate)
    assert certificates.holds(bundle, other.certificate)
    assert not certificates.holds(bundle, over.certificate)
    assert certificates.bundle(bundle, mine.certificate, NOW) == bundle
    assert certificates.bundle(b"no certificate", mine.certificate, NOW) == mine.certificate


def test_a_bundle_does_not_grow_for_ever():
    bundle = b""
    for hours in range(12):
        pair = certificates.issue(HOST, NOW + timedelta(hours=hours))
        bundle = certificates.bundle(bundle, pair.certificate, NOW)
    assert bundle.count(b"BEGIN CERTIFICATE") == 8
    assert certificates.holds(bundle, pair.certificate)


class MemoryConfigurations:
    """The two configurations, with resource versions as the API server counts them."""

    def __init__(self):
        self.items = {}
        self.writes = 0
        self.refusal = None

    def install(self):
        for kind in keeper.KINDS:
            webhook = {"name": f"{kind[:8].lower()}.headrace.dev", "clientConfig": {"service": {"name": "operator"}}}
            self.items[kind] = {"metadata": {"name": "r.models", "resourceVersion": "1"}, "webhooks": [webhook]}

    def bundles(self):
        return [
            base64.b64decode(one["clientConfig"].get("caBundle", ""))
            for item in self.items.values()
            for one in item["webhooks"]
        ]

    async def get(self, item):
        return self.items.get(item["kind"])

    async def apply(self, item):
        if self.refusal:
            raise self.refusal
        live = self.items[item["kind"]]
        assert item["metadata"] == live["metadata"]
        for mine, theirs in zip(item["webhooks"], live["webhooks"], strict=True):
            assert mine["name"] == theirs["name"]
            theirs["clientConfig"] |= mine["clientConfig"]
        live["metadata"]["resourceVersion"] += "1"
        self.writes += 1
        return live


@pytest.fixture
def configurations():
    return MemoryConfigurations()


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def own(configurations, clock):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    return keeper.OwnKeeper(HOST, "r.models", configurations, context, lambda: clock[0])


async def test_trust_is_written_before_the_webhook_is_ready_and_only_once(own, configurations):
    configurations.install()
    await own._refresh()
    assert own.ready.is_set()
    for bundle in configurations.bundles():
        assert await connects(own.context, bundle)
    await own._refresh()
    assert configurations.writes == 2


async def test_a_configuration_that_is_written_anew_gets_its_bundle_again(own, configurations):
    configurations.install()
    await own._refresh()
    configurations.install()
    await own._refresh()
    assert all(configurations.bundles())


async def test_a_certificate_is_renewed_before_it_ends_and_the_old_one_stays_trusted(own, configurations, clock):
    configurations.install()
    await own._refresh()
    first = own._serving
    clock[0] = NOW + certificates.VALID - certificates.RENEW_BEFORE + timedelta(minutes=1)
    await own._refresh()
    assert own._serving != first
    assert all(certificates.holds(bundle, first.certificate) for bundle in configurations.bundles())
    assert all(certificates.holds(bundle, own._serving.certificate) for bundle in configurations.bundles())


async def test_two_replicas_share_the_bundle(own, configurations, clock):
    other = keeper.OwnKeeper(HOST, "r.models", configurations, ssl.create_default_context(), lambda: clock[0])
    configurations.install()
    await own._refresh()
    await other._refresh()
    await own._refresh()
    for bundle in configurations.bundles():
        assert certificates.holds(bundle, own._serving.certificate)
        assert certificates.holds(bundle, other._serving.certificate)


async def test_without_configurations_or_rights_it_goes_on_trying(own, configurations, monkeypatch):
    monkeypatch.setattr(keeper, "_RETRY_SECONDS", 0.01)
    task = asyncio.create_task(own.run())
    await asyncio.sleep(0.05)
    assert not own.ready.is_set()
    configurations.refusal = PermissionError("forbidden")
    configurations.install()
    await asyncio.sleep(0.05)
    assert not own.ready.is_set()
    configurations.refusal = None
    await asyncio.wait_for(own.ready.wait(), 5)
    task.cancel()


async def test_a_key_of_another_certificate_leaves_the_old_pair_served(tmp_path):
    files = keeper.FileKeeper(tmp_path, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    old, new = certificates.issue(HOST, NOW), certificates.issue(HOST, NOW)
    (tmp_path / "tls.crt").write_bytes(old.certificate)
    (tmp_path / "tls.key").write_bytes(old.key)
    files._refresh()
    (tmp_path / "tls.crt").write_bytes(new.certificate)
    with pytest.raises(ssl.SSLError):
        files._refresh()
    assert await connects(files.context, old.certificate)


async def test_files_are_served_and_replaced_while_running(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(keeper, "_RETRY_SECONDS", 0.02)
    files = keeper.FileKeeper(tmp_path, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    task = asyncio.create_task(files.run())
    await asyncio.sleep(0.05)
    assert not files.ready.is_set()
    for pair in (certificates.issue(HOST, NOW), certificates.issue(HOST, NOW)):
        (tmp_path / "tls.crt").write_bytes(b"half a file")
        (tmp_path / "tls.key").write_bytes(pair.key)
        await asyncio.sleep(0.05)
        (tmp_path / "tls.crt").write_bytes(pair.certificate)
        async with asyncio.timeout(5):
            while not files.ready.is_set() or files._serving != pair:
                await asyncio.sleep(0.01)
        assert await connects(files.context, pair.certificate)
    task.cancel()
