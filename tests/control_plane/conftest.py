"""One control plane with controllers and one operator, as a plain process, for all tests of this folder."""

import json

import pytest
from tests import plane as planes
from tests.election.installation import until

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
    until("the operator is ready", lambda: planes.answers(port, "/readyz"))
    yield plane.children["operator"]
    plane.stop("operator")
