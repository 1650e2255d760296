"""What a worker's life is made of, where it can be made of something else: the parts that `worker` calls in each state.

FETCHING calls `Fetch`, then `PrepareEnvironment`, then `Decide`; READY runs `KeepAdapters`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_api.worker_config import Generator
from headrace_worker.decision import Decision, decide
from headrace_worker.engine_client import EngineClient
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import EngineFacts
from headrace_worker.status import Progress

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
        self, generator: Generator, environment: Mapping[str, str], progress: OnProgress, /
    ) -> Mapping[str, str]:
        """The engine's environment variables, given those that it would inherit. Cancelled as `Fetch` is.

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


class KeepAdapters(Protocol):
    """Loads and unloads adapters while the worker is ready."""

    async def __call__(self, engine: EngineClient, serve: Callable[[Sequence[str]], None], /) -> None:
        """Runs until it is cancelled; `serve` is told the names of the adapters that can be asked for from now on."""


async def _as_it_is(generator: Generator, progress: OnProgress, /) -> Generator:
    del progress
    return generator


async def _inherited(
    generator: Generator, environment: Mapping[str, str], progress: OnProgress, /
) -> Mapping[str, str]:
    del generator, progress
    return environment


async def _no_adapters(engine: EngineClient, serve: Callable[[Sequence[str]], None], /) -> None:
    del engine, serve


@dataclass(frozen=True)
class Parts:
    """The parts of one worker."""

    fetch: Fetch = _as_it_is
    prepare_environment: PrepareEnvironment = _inherited
    decide: Decide = decide
    keep_adapters: KeepAdapters = _no_adapters
