"""The part of a worker's life that has adapters (see `headrace_worker.parts.Adapters`)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_worker.adapters.fetches import FetchAdapter
from headrace_worker.adapters.keeper import Keeper, Loader
from headrace_worker.adapters.look import Here
from headrace_worker.adapters.told import Told
from headrace_worker.adapters.wanted import Place
from headrace_worker.engines import Chosen
from headrace_worker.status import Progress

if TYPE_CHECKING:  # it loads aiohttp, for which an engine's start does not wait
    from headrace_worker.engine_client import EngineClient


class WithAdapters:
    """The adapters of one worker."""

    def __init__(self, model: str, config: Path | None, fetch: FetchAdapter) -> None:
        self._model = model
        self._config = config
        self._fetch = fetch
        self._keeper: Keeper | None = None
        self._loader: Loader | None = None
        self._here: tuple[Here, ...] = ()

    async def before_start(self, chosen: Chosen, progress: Callable[[Progress], None]) -> tuple[Here, ...]:
        """See `Adapters.before_start`."""
        place = Place(chosen.generator, self._config)
        self._keeper = Keeper(place, self._fetch, self._model, chosen.kind)
        self._here = await self._keeper.before_start(progress)
        return self._here

    async def load(self, client: "EngineClient") -> Told:
        """See `Adapters.load`."""
        from headrace_worker.adapters import loaders  # noqa: PLC0415 (likewise)

        if self._keeper is None:
            return Told()
        dialect = client.adapters
        self._loader = loaders.WhileRunning(client, dialect) if dialect else loaders.AtStart(self._here)
        return await self._keeper.load(self._loader, client.routes)

    async def keep(self, client: "EngineClient", tell: Callable[[Told], None]) -> None:
        """See `Adapters.keep`."""
        if self._keeper and self._loader:
            await self._keeper.keep(self._loader, client.routes, tell)
