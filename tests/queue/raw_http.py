"""A client that sends exactly the bytes that a test wants."""

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any, Self


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class RawClient:
    """One connection."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._context = context

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, limit=2**22
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await asyncio.wait([asyncio.create_task(self.writer.wait_closed())])

    def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    def post(self, body: bytes | dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(request("POST", path, raw, **headers))

    async def head(self) -> Response:
        async with asyncio.timeout(5):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return Response(int(lines[0].split()[1]), fields, b"")

    async def response(self, *, body: bool = True) -> Response:
        """The next response, whatever its framing."""
        found = await self.head()
        async with asyncio.timeout(5):
            if not body:
                return found
            if "content-length" in found.headers:
                found.body = await self.reader.readexactly(int(found.headers["content-length"]))
            elif found.headers.get("transfer-encoding") == "chunked":
                while part := await self.chunk():
                    found.body += part
            else:
                found.body = await self.reader.read()
        return found

    async def chunk(self) -> bytes:
        async with asyncio.timeout(5):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()


def request(method: str, path: str, body: bytes = b"", version: str = "1.1", **headers: str) -> bytes:
    fields = {"host": "x"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body and "transfer-encoding" not in fields:
        fields.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + body
