"""One control plane with controllers and one operator, as a plain process, for all tests of this folder."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from tests import plane as planes

from headrace_operator.render.config import RenderConfig

CONFIG = RenderConfig(queue_url="http://queue.headrace.svc:8080", images={"LlamaCppEngine": "runtime:1"})


@pytest.fixture(scope="session")
def plane():
    with planes.running(controllers=True) as running:
        yield running


@pytest.fixture(scope="session")
def operator(plane):
    port = planes.free_port()
    options = {
        "health-port": str(port),
        "queue-url": CONFIG.queue_url,
        "images": json.dumps(dict(CONFIG.images)),
        "namespaces": "default",
    }
    plane.start_operator(options)
    asyncio.run(_ready(port))
    yield plane.children["operator"]
    plane.stop("operator")


async def _ready(port):
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(_answers, port):
            await asyncio.sleep(0.1)


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
