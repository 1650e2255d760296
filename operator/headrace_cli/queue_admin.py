"""The admin port of a queue, for what needs the admin key: by its URL, or through kubectl.

Through kubectl the key is read from the Secret that the chart made, and the port is forwarded: the API server's own
proxy takes the `Authorization` header for itself, so that no key could be sent with it.
"""

import base64
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace_api import names
from headrace_cli.errors import FAILED, Trouble
from headrace_cli.kubectl import Kubectl

Object = dict[str, Any]

_SECONDS = 30
_QUEUE = f"{names.LABEL_NAME}=headrace-queue"
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class QueueAdmin:
    """Where the port is, and the key."""

    url: str
    key: str

    def ask(self, method: str, path: str, body: str | None = None) -> str:
        """What the queue answers to a request with a JSON `body`.

        Raises:
            Trouble: it cannot be reached, or says no; the message has its words.
        """
        status, text = self._exchange(method, path, body)
        if status < 400:
            return text
        try:
            message = json.loads(text)["error"]["message"]
        except (ValueError, LookupError, TypeError):
            message = text[:200]
        raise Trouble(f"the queue says: {message}", FAILED if status < 500 else 2)

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Trouble(f"--url {self.url}: it must be http://HOST:PORT or https://HOST:PORT, of the admin port")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise Trouble(f"the queue at {self.url} does not answer: {error}") from None
        finally:
            connection.close()


@contextmanager
def by_url(url: str, key_file: Path | None) -> Iterator[QueueAdmin]:
    """The port at a URL.

    Raises:
        Trouble: the file with the key cannot be read.
    """
    if key_file is None:
        raise Trouble("--url needs --admin-key-file, a file with the queue's admin key")
    try:
        key = key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"--admin-key-file {key_file} cannot be read: {error}") from None
    yield QueueAdmin(url, _plain(key, f"--admin-key-file {key_file}"))


@contextmanager
def by_kubectl(kubectl: Kubectl, queue: str | None) -> Iterator[QueueAdmin]:
    """The port of the queue in the namespace, forwarded for as long as the context lasts.

    Raises:
        Trouble: there is no such queue, it has no admin key, or kubectl says no.
    """
    service = _service(kubectl.get("services", f"--selector={_QUEUE}"), queue)
    name, _, field = (service["metadata"].get("annotations") or {})[names.ANNOTATION_ADMIN_KEY].partition("/")
    secrets = kubectl.get("secret", name)
    if not secrets or field not in (secrets[0].get("data") or {}):
        raise Trouble(f"the Secret {name} with the admin key of {service['metadata']['name']} has no {field}")
    key = _plain(base64.b64decode(secrets[0]["data"][field]).decode(errors="replace").strip(), f"the Secret {name}")
    target = f"service/{service['metadata']['name']}"
    lines = kubectl.lines("port-forward", "--address=127.0.0.1", target, ":admin")
    try:
        yield QueueAdmin(f"http://127.0.0.1:{_port(lines)}", key)
    finally:
        lines.close()


def _plain(key: str, where: str) -> str:
    if not key or not key.isascii() or not key.isprintable():
        raise Trouble(f"{where} holds no key: it must be one line of ASCII characters")
    return key


def _service(services: list[Object], wanted: str | None) -> Object:
    managed = {one["metadata"]["name"]: one for one in services if _has_key(one)}
    if wanted is not None and (found := managed.get(wanted) or managed.get(f"{wanted}-admin")):
        return found
    if wanted is None and len(managed) == 1:
        return next(iter(managed.values()))
    there = ", ".join(sorted(managed)) or "none"
    which = f"called {wanted}" if wanted else "to choose"
    raise Trouble(f"there is no one queue {which} in this namespace; with an admin key there are: {there}; see --queue")


def _has_key(service: Object) -> bool:
    return names.ANNOTATION_ADMIN_KEY in (service["metadata"].get("annotations") or {})


def _port(lines: Generator[str]) -> int:
    for line in lines:
        if found := _FORWARDED.match(line):
            return int(found[1])
    raise Trouble("kubectl port-forward has ended without forwarding")
