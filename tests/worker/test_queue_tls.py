"""A worker that joins a queue by TLS: with an authority of its own, and with a certificate where one is asked for."""

import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from headrace_worker import queue_tls, settings
from tests.serving import served
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_queue import ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]


def made(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    files = folder / f"{name}.crt", folder / f"{name}.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -addext"
    words = [*command.split(), "subjectAltName=IP:127.0.0.1", "-subj", f"/CN={name}"]
    subprocess.run([*words, "-out", str(files[0]), "-keyout", str(files[1])], check=True, capture_output=True)
    return files


@contextlib.asynccontextmanager
async def serving(queue: ScriptedQueue, context: ssl.SSLContext) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/worker", queue.accept)
    async with served(app, tls=context) as port:
        yield f"https://127.0.0.1:{port}"


async def test_an_authority_of_its_own_and_a_certificate_of_its_own(tmp_path: Path, pulling: Start) -> None:
    certificate, own = made(tmp_path, "queue"), made(tmp_path, "worker")
    asking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(own[0]))
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_cert_chain(*certificate)
    queue = ScriptedQueue()
    async with serving(queue, asking) as url:
        both = queue_tls.context(certificate[0], *own)
        async with pulling(url, tls=both) as worker:
            await (await queue.connection()).greet()
            await until(lambda: worker.registered == [True])
        for tls in (None, queue_tls.context(certificate[0], None, None), queue_tls.context(None, *own)):
            with capture_logs() as logs:
                async with pulling(url, tls=tls):
                    await until(lambda seen=logs: any("cannot reach the queue" in one["event"] for one in seen))  # type: ignore[misc]
            assert queue.connections.empty()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CA": "absent.crt"}, "HEADRACE_QUEUE_CA_FILE: '.*absent.crt' cannot be used: .*No such file"),
        ({"CA": "worker.key"}, "HEADRACE_QUEUE_CA_FILE: .* cannot be used"),
        ({"CERT": "worker.crt"}, "HEADRACE_QUEUE_CERT_FILE: .* cannot be used"),
        ({"CERT": "worker.crt", "KEY": "other.key"}, "HEADRACE_QUEUE_CERT_FILE: .* cannot be used: .*mismatch"),
        ({"KEY": "worker.key"}, "of no use without HEADRACE_QUEUE_CERT_FILE"),
    ],
)
def test_files_that_are_of_no_use_are_named(variables: dict[str, str], words: str, tmp_path: Path) -> None:
    for name in ("worker", "other"):
        made(tmp_path, name)
    env = {f"HEADRACE_QUEUE_{name}_FILE": str(tmp_path / file) for name, file in variables.items()}
    with pytest.raises(settings.SettingsError, match=words):
        settings.read(env)


def test_nothing_set_means_the_systems_authorities() -> None:
    assert settings.read({}).queue_tls is None
