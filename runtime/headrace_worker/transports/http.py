"""A request by HTTP, as every engine understands it."""

import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from headrace_worker.transports.protocol import Answer, EngineLostError

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class HttpAnswer:
    """See `Answer`."""

    response: aiohttp.ClientResponse

    @property
    def status(self) -> int:
        """See `Answer.status`."""
        return self.response.status

    async def received(self) -> AsyncIterator[bytes]:
        """See `Answer.received`."""
        async for data in self.response.content.iter_any():
            yield data


@dataclass(frozen=True)
class Http:
    """See `Transport`; a connection is the session's affair."""

    session: aiohttp.ClientSession
    base_url: str

    @contextlib.asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Answer]:
        """See `Transport.ask`."""
        try:
            async with self.session.post(self.base_url + path, data=io.BytesIO(body), headers=_JSON) as response:
                yield HttpAnswer(response)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise EngineLostError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """See `Transport.close`."""
