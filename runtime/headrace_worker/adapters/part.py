"""The part of a worker's life that has adapters (see `headrace_worker.parts.Adapters`)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_worker.adapters.keeper import FetchAdapter, Keeper, Told
from headrace_worker.adapters.look import Here
from headrace_worker.adapters.wanted import Place
from headrace_worker.engines import Chosen

if TYPE_CHECKING:  # it loads aiohttp, for which an engine's start does not wait
    from headrace_worker.engine_client import EngineClient


class WithAdapters:
    """The adapters of one worker."""

    def __init__(self, model: str, config: Path | None, fetch: FetchAdapter) -> None:
        self._model = model
        self._config = config
        self._fetch = fetch
        self._keeper: Keeper | None = None
        self._here: tuple[Here, ...] = ()

    async def before_start(self, chosen: Chosen) -> tuple[Here, ...]:
        """See `Adapters.before_start`."""
        place = Place(chosen.generator, self._config)
        self._keeper = Keeper(place, self._fetch, self._model, chosen.kind)
        self._here = await self._keeper.before_start()
        return self._here

    async def keep(self, client: "EngineClient", tell: Callable[[Told], None]) -> None:
        """See `Adapters.keep`."""
        from headrace_worker.adapters import loaders  # noqa: PLC0415 (likewise)

        dialect = client.adapters
        loader = loaders.WhileRunning(client, dialect) if dialect else loaders.AtStart(self._here)
        if self._keeper:
            await self._keeper.keep(loader, client.routes, tell)
