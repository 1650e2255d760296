"""How engines are told of adapters: over HTTP while they run, or only when they start."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from headrace_worker.adapters.look import AdapterError, Here, NeedsRestartError
from headrace_worker.engine_client import EngineClient, EngineLostError
from headrace_worker.engines.protocol import AdapterDialect, Call

_MOST_CHARACTERS = 500
ANSWER_S = 60.0
"""How long an engine may take to load or to unload an adapter that is on its machine."""


class WhileRunning:
    """An engine that loads and unloads when it is asked to; requests name the adapter as their model."""

    def __init__(self, client: EngineClient, dialect: AdapterDialect) -> None:
        self._client = client
        self._dialect = dialect
        self._uncertain: set[str] = set()
        """Names that it was asked to load, without saying that it has."""

    def check(self, here: Here, /) -> None:
        """See `Loader.check`: it takes all."""

    async def load(self, name: str, here: Here, /) -> dict[str, Any]:
        """See `Loader.load`."""
        if name in self._uncertain:
            with contextlib.suppress(AdapterError):  # it need not have it
                await self.unload(name)
        self._uncertain.add(name)
        await self._ask(self._dialect.load(name, str(here.path)))
        self._uncertain.discard(name)
        return {"model": name}

    async def unload(self, name: str, /) -> None:
        """See `Loader.unload`."""
        await self._ask(self._dialect.unload(name))

    async def _ask(self, call: Call) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                status, text = await self._client.call(call)
        except TimeoutError:
            raise AdapterError(f"the engine did not answer within {ANSWER_S:g} s") from None
        except EngineLostError as error:
            raise AdapterError(f"the engine did not answer: {error}") from error
        if status != 200:
            raise AdapterError(f"the engine answered {status}: {text[:_MOST_CHARACTERS]}")


class AtStart:
    """An engine that has the adapters that it was started with, and is told in each request which of them to use."""

    def __init__(self, started_with: Sequence[Here]) -> None:
        self._numbers = {here.path: number for number, here in enumerate(started_with)}

    def check(self, here: Here, /) -> None:
        """See `Loader.check`."""
        if here.path not in self._numbers:
            raise NeedsRestartError("it needs a restart of the worker: this engine loads adapters when it starts only")

    async def load(self, name: str, here: Here, /) -> dict[str, Any]:  # noqa: ARG002
        """See `Loader.load`."""
        return {"lora": [{"id": self._numbers[here.path], "scale": 1.0}]}

    async def unload(self, name: str, /) -> None:
        """Nothing is to be done: nobody asks for it any more, and its memory is the engine's until it ends."""
