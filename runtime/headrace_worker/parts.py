"""What a worker's life is made of, where it can be made of something else: the parts that `worker` calls in each state.

FETCHING calls `Fetch`, `Adapters.before_start`, `Decide` and `PrepareEnvironment`; WARMING ends with `Adapters.load`;
READY runs `Adapters.keep`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from headrace_api.worker_config import Generator
from headrace_worker.adapters.look import Here
from headrace_worker.adapters.told import Told
from headrace_worker.decision import Decision, decide
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import EngineFacts
from headrace_worker.status import Progress

if TYPE_CHECKING:  # it loads aiohttp, for which an engine's start does not wait
    from headrace_worker.engine_client import EngineClient

OnProgress = Callable[[Progress], None]
"""Told how far something is, as often as is convenient."""


class PreparationError(RuntimeError):
    """Weights or environment cannot be had; the message says what was tried, why it failed, and what to do."""


class Fetch(Protocol):
    """Gets weights, and whatever else of a model is elsewhere, onto this machine."""

    async def __call__(self, generator: Generator, progress: OnProgress, /) -> Generator:
        """The section with local paths in place of what was fetched (`weight_set_directories` for the weights).

        It is cancelled when the worker is asked to stop: nothing half-done may be visible then.

        Raises:
            PreparationError: something cannot be fetched.
        """


class PrepareEnvironment(Protocol):
    """Makes what an engine needs beside its weights."""

    async def __call__(
        self, decided: Decision, environment: Mapping[str, str], progress: OnProgress, /
    ) -> Mapping[str, str]:
        """Variables for the engine, which win over those that it inherits and the command's. Cancelled as `Fetch` is.

        Args:
            decided: what is started.
            environment: what the engine inherits.
            progress: told how far this is.

        Raises:
            PreparationError: it cannot be made.
        """


class Decide(Protocol):
    """Decides what to start. Pure."""

    def __call__(self, chosen: Chosen, facts: EngineFacts, /) -> Decision:
        """The decision.

        Raises:
            EngineConfigError: the engine cannot do what the configuration asks.
        """


class Adapters(Protocol):
    """Has adapters served beside the model."""

    async def before_start(self, chosen: Chosen, progress: OnProgress, /) -> tuple[Here, ...]:
        """Those that are here before the engine starts. Cancelled as `Fetch` is.

        Args:
            chosen: the engine.
            progress: told how far this is.

        Raises:
            EngineConfigError: the configuration asks for one that cannot be.
        """

    async def load(self, client: "EngineClient", /) -> Told:
        """Have the engine serve those, before the worker is ready; an engine that does not take one serves without."""

    async def keep(self, client: "EngineClient", tell: Callable[[Told], None], /) -> None:
        """Load and unload while the worker is ready, until cancelled; `tell` is told of every change."""


class NoAdapters:
    """None."""

    async def before_start(self, chosen: Chosen, progress: OnProgress, /) -> tuple[Here, ...]:
        """See `Adapters.before_start`."""
        del chosen, progress
        return ()

    async def load(self, client: "EngineClient", /) -> Told:
        """See `Adapters.load`."""
        del client
        return Told()

    async def keep(self, client: "EngineClient", tell: Callable[[Told], None], /) -> None:
        """See `Adapters.keep`."""


async def _as_it_is(generator: Generator, progress: OnProgress, /) -> Generator:
    del progress
    return generator


async def _nothing(decided: Decision, environment: Mapping[str, str], progress: OnProgress, /) -> Mapping[str, str]:
    del decided, environment, progress
    return {}


@dataclass(frozen=True)
class Parts:
    """The parts of one worker."""

    fetch: Fetch = _as_it_is
    prepare_environment: PrepareEnvironment = _nothing
    decide: Decide = decide
    adapters: Adapters = field(default_factory=NoAdapters)
