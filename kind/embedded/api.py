"""Calls to the cluster's API server as its administrator, with the standard library only."""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

from toolbox import steps

from embedded import layout

Object = Mapping[str, Any]
FIELD_MANAGER = "headrace-kind"
_APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class ApiError(steps.StepError):
    """The API server answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Timeout(steps.StepError):
    """Something did not come true in time."""


def call(method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> str:
    """Send one request to `path`, such as `/api/v1/nodes`, and return the answer's text.

    Raises:
        ApiError: the server answered with a status of 400 or more.
        OSError: the server cannot be reached.
    """
    connection = http.client.HTTPSConnection(layout.HOST_ADDRESS, layout.API_PORT, context=_tls(), timeout=10)
    try:
        content = json.dumps(body) if body is not None else None
        connection.request(method, path, content, {"Content-Type": content_type, "Accept": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status >= 400:
        raise ApiError(response.status, f"{method} {path}: {response.status} {text.strip()}")
    return text


def get(path: str) -> Any:
    """The object at `path`."""
    return json.loads(call("GET", path))


def apply(collection: str, obj: Object) -> None:
    """Create `obj` in `collection` (its path), or bring it up to date, by server-side apply."""
    path = f"{collection}/{obj['metadata']['name']}?fieldManager={FIELD_MANAGER}&force=true"
    call("PATCH", path, obj, _APPLY)


def wait(what: str, ready: Callable[[], bool], *, seconds: float, poll: float = 0.1) -> None:
    """Wait until `ready` is true; an answer with an error or no connection counts as not yet.

    Raises:
        Timeout: it took longer than `seconds`; the message holds the last error.
    """
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, http.client.HTTPException, ApiError) as error:
            last = error
        time.sleep(poll)
    raise Timeout(f"{what}: not within {seconds:.0f} s{f' ({last})' if last else ''}")


def is_healthy(host: str, port: int, path: str, *, tls: bool = True) -> bool:
    """Whether a GET of a health address answers 200; OSError if nothing listens there."""
    if tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, context=_tls(), timeout=3)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _tls() -> ssl.SSLContext:
    folder = layout.pki_dir()
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    return context
