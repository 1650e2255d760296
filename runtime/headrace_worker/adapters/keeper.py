"""Keeps an engine's adapters as they are wanted: looks every few seconds, fetches, loads, unloads, and tells."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from headrace_api.toml_file import ConfigError
from headrace_api.worker_config import Adapter
from headrace_worker.adapters.changes import changes
from headrace_worker.adapters.look import AdapterError, Here, NeedsRestartError, look
from headrace_worker.adapters.routes import Routes, whole_name
from headrace_worker.adapters.wanted import MORE_SETS, Place
from headrace_worker.engines.protocol import EngineConfigError

EVERY_S = 2.0
AGAIN_S = 60.0
"""How long after it could not be had an adapter is tried again."""

FetchAdapter = Callable[[str], Awaitable[Path]]
"""Brings a source (a path, a Hugging Face id, s3://, gs://) onto this machine.

Raises:
    AdapterError: it cannot.
"""

log = structlog.get_logger()


class Loader(Protocol):
    """An engine, as far as adapters are concerned."""

    async def load(self, name: str, here: Here, /) -> dict[str, Any]:
        """Serve it under the whole name; returns the fields of requests for it.

        Raises:
            AdapterError: the engine does not take it.
        """

    async def unload(self, name: str, /) -> None:
        """Stop serving it.

        Raises:
            AdapterError: the engine does not let it go.
        """


@dataclass(frozen=True)
class Told:
    """What others are told of the adapters."""

    served: tuple[str, ...] = ()
    """The whole names that can be asked for."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why others cannot, by the adapter's own name."""
    restart: dict[str, str] = field(default_factory=dict)
    """The same for those that a restart of the worker would bring."""

    @property
    def text(self) -> str:
        """What is wrong, in words; empty when nothing is."""
        return "; ".join(f"the adapter {name}: {why}" for name, why in (self.failed | self.restart).items())


class Keeper:
    """The adapters of one worker, over its whole life."""

    def __init__(self, place: Place, fetch: FetchAdapter, model: str, engine: str) -> None:
        self._place = place
        self._fetch = fetch
        self._model = model
        self._engine = engine
        self._loaded: dict[str, Adapter] = {}
        self._failed: dict[Adapter, tuple[str, float]] = {}
        self._unreadable = ""
        self._wanted: tuple[Adapter, ...] = ()

    async def before_start(self) -> tuple[Here, ...]:
        """Fetch what is wanted now, for an engine that has to know of it when it starts; what fails is tried later.

        Raises:
            EngineConfigError: a weight set after the first is no adapter.
        """
        self._read()
        found = [await self._here(adapter) for adapter in self._wanted]
        for adapter in self._place.further_sets():
            if adapter in self._failed:
                why, _ = self._failed[adapter]
                raise EngineConfigError(
                    f"{MORE_SETS}: {adapter.source!r} cannot be served beside the first, because {why}; accepted after "
                    "the first: folders of LoRA adapters of it"
                )
        return tuple(one for one in found if one)

    async def keep(self, loader: Loader, routes: Routes, tell: Callable[[Told], None]) -> None:
        """Run until cancelled; `tell` is called after every change."""
        self._loaded.clear()  # an engine that was started anew has none
        told: Told | None = None
        while True:
            self._read()
            await self._follow(loader, routes, tell)
            now = self._told(routes)
            if now != told:
                tell(now)
                told = now
            await asyncio.sleep(EVERY_S)

    async def _follow(self, loader: Loader, routes: Routes, tell: Callable[[Told], None]) -> None:
        now = time.monotonic()
        self._failed = {one: why for one, why in self._failed.items() if one in self._wanted and why[1] > now}
        todo = changes(self._wanted, self._loaded, self._failed)
        for name in todo.unload:
            routes.adapters.pop(whole_name(self._model, name), None)
        if todo.unload:
            tell(self._told(routes))  # before the engine forgets them
        for name in todo.unload:
            await self._unload(loader, name)
        for adapter in todo.load:
            if here := await self._here(adapter):
                await self._load(loader, routes, here)
                tell(self._told(routes))

    async def _load(self, loader: Loader, routes: Routes, here: Here) -> None:
        name = whole_name(self._model, here.adapter.name)
        try:
            routes.adapters[name] = await loader.load(name, here)
        except NeedsRestartError as error:
            log.warning("an adapter waits for a restart of the worker", adapter=name, source=here.adapter.source)
            self._failed[here.adapter] = (str(error), math.inf)
            return
        except AdapterError as error:
            self._note(here.adapter, str(error))
            return
        self._loaded[here.adapter.name] = here.adapter
        log.info("an adapter is served", adapter=name, path=str(here.path), rank=here.rank)

    async def _unload(self, loader: Loader, name: str) -> None:
        del self._loaded[name]
        try:
            await loader.unload(whole_name(self._model, name))
            log.info("an adapter is not served any more", adapter=whole_name(self._model, name))
        except AdapterError as error:
            log.warning("the engine keeps an adapter that nobody can ask for", adapter=name, error=str(error))

    async def _here(self, adapter: Adapter) -> Here | None:
        try:
            return look(adapter, await self._fetch(adapter.source), self._engine)
        except AdapterError as error:
            self._note(adapter, str(error))
            return None

    def _note(self, adapter: Adapter, why: str) -> None:
        log.error("an adapter cannot be served", adapter=adapter.name, source=adapter.source, why=why)
        self._failed[adapter] = (why, time.monotonic() + AGAIN_S)

    def _read(self) -> None:
        try:
            self._wanted = self._place.read()
            self._unreadable = ""
        except ConfigError as error:
            if str(error) != self._unreadable:
                log.warning("the wanted adapters cannot be read: those that are served stay", error=str(error))
            self._unreadable = str(error)

    def _told(self, routes: Routes) -> Told:
        failed: dict[str, str] = {}
        restart: dict[str, str] = {}
        for adapter, (why, again_at) in self._failed.items():
            (failed if math.isfinite(again_at) else restart)[adapter.name] = why
        return Told(tuple(routes.adapters), failed, restart)
