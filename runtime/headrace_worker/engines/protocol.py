"""What the worker needs to know of an engine, whichever it is: its command line, its slots, its request dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace_api.worker_config import Generator


class EngineConfigError(ValueError):
    """The generator section asks for something that this engine cannot do; the message names key, value and remedy."""


@dataclass(frozen=True)
class EngineFacts:
    """What a command line needs beside the configuration."""

    weights: str
    """Where the weights are, as `Engine.locate` found them."""
    served_name: str
    """The name that requests ask for; the engine serves under it, so that requests need no rewriting."""
    port: int
    """A free port on 127.0.0.1."""
    python: str
    """The interpreter of the worker itself."""
    vllm_python: str
    """The interpreter that has vLLM."""


@dataclass(frozen=True)
class EngineCommand:
    """How to start an engine: arguments, and the variables added to its environment."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One kind of engine. An engine answers OpenAI requests and `GET /health` over HTTP on `127.0.0.1:port`."""

    def locate(self, generator: Generator) -> str:
        """Find the weights.

        Raises:
            EngineConfigError: they are not there, or it is not clear which files are meant.
        """

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """The command line, decided from the configuration and the facts alone.

        Raises:
            EngineConfigError: an argument is unknown, or one that the worker itself sets.
        """

    def slots(self, generator: Generator) -> int:
        """How many requests it works on at a time."""

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Lists that are put before what a request says under the same key, e.g. `{"stop": ["</s>"]}`.

        Raises:
            EngineConfigError: a stopping sequence cannot be expressed in this engine's requests.
        """
