"""Real servers of buckets, and a proxy before them that breaks things at random, for the tests of the model store."""

import asyncio
import contextlib
import hmac
import json
import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from embedded import programs, recipes

KEY, SECRET = "test", "test-secret"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def program(command: list[str | Path], port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    with log.open("ab") as output:
        child = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=output, stderr=output)
    try:
        _wait_for(port, child, log)
        yield
    finally:
        child.kill()
        child.wait()


def _wait_for(port: int, child: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if child.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server on {port}: {log.read_text()}")


@dataclass
class S3:
    """A versitygw."""

    url: str
    root: Path

    def bucket(self, name: str) -> S3Store:
        (self.root / name).mkdir(exist_ok=True)
        return S3Store(
            name,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )

    def put(self, bucket: str, files: dict[str, bytes], part: int = 0) -> None:
        """Upload; with `part` in parts of so many bytes."""
        store = self.bucket(bucket)
        for name, content in files.items():
            if part:
                obstore.put(store, name, content, use_multipart=True, chunk_size=part)
            else:
                obstore.put(store, name, content, use_multipart=False)

    def mark(self, bucket: str, folder: str) -> None:
        """Put the empty object `folder/`, as the S3 console's "Create folder" does; obstore takes the slash off."""
        now, host, path = datetime.now(UTC), self.url.removeprefix("http://"), f"/{bucket}/{folder}/"
        scope = [f"{now:%Y%m%d}", "us-east-1", "s3", "aws4_request"]
        query = urllib.parse.urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": "/".join([KEY, *scope]),
                "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
                "X-Amz-Expires": "60",
                "X-Amz-SignedHeaders": "host",
            }
        )
        canonical = f"PUT\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        text = [f"AWS4-HMAC-SHA256\n{now:%Y%m%dT%H%M%SZ}\n{'/'.join(scope)}", sha256(canonical.encode()).hexdigest()]
        key = f"AWS4{SECRET}".encode()
        for part in (*scope, "\n".join(text)):
            key = hmac.digest(key, part.encode(), "sha256")
        url = f"{self.url}{path}?{query}&X-Amz-Signature={key.hex()}"
        urllib.request.urlopen(urllib.request.Request(url, b"", method="PUT")).close()  # noqa: S310


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[S3]:
    root = folder / "s3"
    root.mkdir(parents=True)
    port = free_port()
    command: list[str | Path] = [programs.fetch(recipes.VERSITYGW) / "versitygw", "--port", f"127.0.0.1:{port}"]
    env = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    with program([*command, "--quiet", "posix", root], port, folder / "s3.log", env):
        yield S3(f"http://127.0.0.1:{port}", root)


@dataclass
class Gcs:
    """A fake-gcs-server."""

    url: str

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        with contextlib.suppress(urllib.error.HTTPError):  # it is there already
            self._post("storage/v1/b?project=p", json.dumps({"name": bucket}).encode())
        for name, content in files.items():
            self._post(f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={urllib.parse.quote(name)}", content)

    def _post(self, path: str, data: bytes) -> None:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method="POST")  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310


@contextlib.contextmanager
def gcs(folder: Path) -> Iterator[Gcs]:
    port = free_port()
    command: list[str | Path] = [programs.fetch(recipes.FAKE_GCS) / "fake-gcs-server", "-host", "127.0.0.1"]
    command += ["-port", str(port), "-scheme", "http", "-backend", "memory", "-log-level", "error"]
    with program([*command, "-public-host", f"127.0.0.1:{port}"], port, folder / "gcs.log"):
        yield Gcs(f"http://127.0.0.1:{port}")


@dataclass
class Faults:
    """How often a request of the proxy meets each fate, from 0 to 1."""

    forbidden: float = 0
    broken: float = 0
    """500 and 503."""
    truncated: float = 0
    stalled: float = 0
    reset: float = 0
    garbled: float = 0
    """A byte of the answer's body is another one."""
    seed: int = 1
    met: dict[str, int] = field(default_factory=dict)

    def draw(self, chance: random.Random) -> str:
        point = chance.random()
        for name in ("forbidden", "broken", "truncated", "stalled", "reset", "garbled"):
            point -= getattr(self, name)
            if point < 0:
                self.met[name] = self.met.get(name, 0) + 1
                return name
        return ""


class Proxy:
    """Passes HTTP requests on, one a connection, and breaks some answers. `bytes_sent` counts bodies."""

    def __init__(self, target: str, faults: Faults) -> None:
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port = int(port)
        self.faults = faults
        self._chance = random.Random(faults.seed)  # noqa: S311
        self.bytes_sent = 0
        self.open = asyncio.Event()
        """Requests for files beyond the first `free` wait for it."""
        self.open.set()
        self.free = 0
        self.answers_head = True
        """Or a server that tells nothing beside its listing."""
        self.requests: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def running(self, host: str = "127.0.0.1") -> AsyncIterator[str]:
        port = free_port()
        server = await asyncio.start_server(self._connection, host, port)
        try:
            yield f"http://{host}:{port}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def let_through(self, files: int) -> None:
        """Answer so many requests for files from now on, and no more."""
        self.free = files
        self.open.clear()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests.append(head.split(b"\r\n", 1)[0].decode())
        fault = self.faults.draw(self._chance)
        if self.requests[-1].startswith("GET") and "list-type" not in self.requests[-1]:
            self.free -= 1
            if self.free < 0:
                await self.open.wait()
        if head.startswith(b"HEAD") and not self.answers_head:
            writer.write(b"HTTP/1.1 501 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif fault == "forbidden":
            writer.write(_error(403, "AccessDenied"))
        elif fault == "broken":
            writer.write(_error(*self._chance.choice([(500, "InternalError"), (503, "SlowDown")])))
        elif fault != "reset":
            await self._pass_on(head, writer, fault)
        if not writer.is_closing():
            await writer.drain()

    async def _pass_on(self, head: bytes, writer: asyncio.StreamWriter, fault: str) -> None:
        reader, server = await asyncio.open_connection(self._host, self._port)
        try:
            server.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = await reader.read()
        finally:
            server.close()
        top, _, body = answer.partition(b"\r\n\r\n")
        writer.write(top.replace(b"Connection: keep-alive\r\n", b"") + b"\r\nConnection: close\r\n\r\n")
        half = len(body) // 2
        if fault in {"truncated", "stalled"} and body:
            writer.write(body[:half])
            await writer.drain()
            self.bytes_sent += half
            if fault == "stalled":
                await asyncio.sleep(60)
            return
        if fault == "garbled" and body:
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        writer.write(body)
        self.bytes_sent += len(body)


def _error(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>at random</Message></Error>".encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311
