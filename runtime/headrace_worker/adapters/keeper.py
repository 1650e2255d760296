"""Keeps an engine's adapters as they are wanted: looks every few seconds, fetches, loads, unloads, and tells."""

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from headrace_api.toml_file import ConfigError
from headrace_api.worker_config import Adapter
from headrace_worker.adapters.changes import changes
from headrace_worker.adapters.fetches import FetchAdapter, Fetches
from headrace_worker.adapters.look import AdapterError, Here, NeedsRestartError
from headrace_worker.adapters.routes import Routes, whole_name
from headrace_worker.adapters.told import Told
from headrace_worker.adapters.wanted import MORE_SETS, Place
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.status import Progress

EVERY_S = 2.0
AGAIN_S = 60.0
"""How long after it could not be had an adapter is tried again."""
PATIENCE_S = 60.0
"""How long the engine's start waits for adapters of which no byte comes."""

log = structlog.get_logger()


class Loader(Protocol):
    """An engine, as far as adapters are concerned."""

    def check(self, here: Here, /) -> None:
        """Look whether it may be loaded at all.

        Raises:
            NeedsRestartError: not into the engine that runs.
        """

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


class Keeper:
    """The adapters of one engine, from before its start."""

    def __init__(self, place: Place, fetch: FetchAdapter, model: str, engine: str) -> None:
        self._place = place
        self._fetches = Fetches(fetch, engine)
        self._model = model
        self._here: tuple[Here, ...] = ()
        self._loaded: dict[str, Here] = {}
        self._failed: dict[Adapter, tuple[str, float]] = {}
        self._unreadable = ""
        self._wanted: tuple[Adapter, ...] = ()

    async def before_start(self, show: Callable[[Progress], None]) -> tuple[Here, ...]:
        """Fetch what is wanted now, for an engine that has to know of it when it starts; what fails is tried later.

        Raises:
            EngineConfigError: a weight set after the first is no adapter.
        """
        self._read()
        self._fetches.follow(self._wanted)
        try:
            await self._fetches.until_all_ended(PATIENCE_S, show)
            self._here = tuple(self._those_here())
        finally:
            late = await self._fetches.close()
        for adapter in late:
            self._note(adapter, f"no byte of it has come for {PATIENCE_S:g} s, and the engine was started without it")
        for adapter in self._place.further_sets():
            if adapter in self._failed:
                why, _ = self._failed[adapter]
                raise EngineConfigError(
                    f"{MORE_SETS}: {adapter.source!r} cannot be served beside the first, because {why}; accepted after "
                    "the first: folders of LoRA adapters of it"
                )
        return self._here

    async def load(self, loader: Loader, routes: Routes) -> Told:
        """Load what was here before the engine was started; what it does not take is told, and tried later."""
        for here in self._here:
            await self._serve(loader, routes, here, lambda _: None)
        return self._told(routes)

    async def keep(self, loader: Loader, routes: Routes, tell: Callable[[Told], None]) -> None:
        """Run until cancelled; `tell` is called after every change."""
        told: Told | None = None
        try:
            while True:
                self._read()
                await self._follow(loader, routes, tell)
                if (now := self._told(routes)) != told:
                    tell(now)
                    told = now
                await self._fetches.until_one_ended(EVERY_S)
        finally:
            await self._fetches.close()

    async def _follow(self, loader: Loader, routes: Routes, tell: Callable[[Told], None]) -> None:
        now = time.monotonic()
        self._failed = {one: why for one, why in self._failed.items() if one in self._wanted and why[1] > now}
        todo = changes(self._wanted, {name: here.adapter for name, here in self._loaded.items()}, self._failed)
        for name in todo.unload:
            routes.adapters.pop(whole_name(self._model, name), None)
        if todo.unload:
            tell(self._told(routes))  # before the engine forgets them
        for name in todo.unload:
            await self._unload(loader, name)
        self._fetches.follow(todo.load)
        for here in self._those_here():
            await self._serve(loader, routes, here, tell)
            tell(self._told(routes))

    def _those_here(self) -> list[Here]:
        """Those whose fetch has ended well; of the others it is noted why."""
        found = []
        for adapter, one in self._fetches.ended():
            if isinstance(one, Here):
                found.append(one)
            else:
                self._note(adapter, str(one))
        return found

    async def _serve(self, loader: Loader, routes: Routes, here: Here, tell: Callable[[Told], None]) -> None:
        """Have the engine serve it, in place of one of its name from another source."""
        name, former = whole_name(self._model, here.adapter.name), self._loaded.get(here.adapter.name)
        try:
            loader.check(here)
            if former:
                await self._withdraw(loader, routes, former, tell)
            routes.adapters[name] = await loader.load(name, here)
        except AdapterError as error:
            here.close()
            if former and name not in routes.adapters:
                await self._restore(loader, routes, former)
            self._note(here.adapter, str(error), again_s=math.inf if isinstance(error, NeedsRestartError) else AGAIN_S)
            return
        if former:
            former.close()
        self._loaded[here.adapter.name] = here
        log.info("an adapter is served", adapter=name, path=str(here.path), rank=here.rank)

    async def _withdraw(self, loader: Loader, routes: Routes, former: Here, tell: Callable[[Told], None]) -> None:
        """Make room for another under the same name, for a moment."""
        name = whole_name(self._model, former.adapter.name)
        fields = routes.adapters.pop(name)
        tell(self._told(routes))  # before the engine forgets it
        try:
            await loader.unload(name)
        except AdapterError:
            routes.adapters[name] = fields
            raise

    async def _restore(self, loader: Loader, routes: Routes, former: Here) -> None:
        name = whole_name(self._model, former.adapter.name)
        try:
            routes.adapters[name] = await loader.load(name, former)
        except AdapterError as error:
            log.warning("the engine does not take the former adapter back", adapter=name, error=str(error))
            self._loaded.pop(former.adapter.name).close()

    async def _unload(self, loader: Loader, name: str) -> None:
        self._loaded.pop(name).close()
        try:
            await loader.unload(whole_name(self._model, name))
            log.info("an adapter is not served any more", adapter=whole_name(self._model, name))
        except AdapterError as error:
            log.warning("the engine keeps an adapter that nobody can ask for", adapter=name, error=str(error))

    def _note(self, adapter: Adapter, why: str, again_s: float = AGAIN_S) -> None:
        if former := self._loaded.get(adapter.name):
            why += f"; until then it is served from {former.adapter.source}"
        if math.isfinite(again_s):
            log.error("an adapter cannot be served", adapter=adapter.name, source=adapter.source, why=why)
        else:
            log.warning("an adapter waits for a restart of the worker", adapter=adapter.name, source=adapter.source)
        self._failed[adapter] = (why, time.monotonic() + again_s)

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
