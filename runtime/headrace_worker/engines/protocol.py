"""What the worker needs to know of an engine, whichever it is: its command line, its HTTP paths, its request dialect.

An engine is a program that answers OpenAI's paths and `GET /health` over HTTP on `127.0.0.1:port`. It ends at SIGTERM;
what is then left of its process group is killed. Everything else that differs between engines is said here as data, so
that an engine is a few pure functions. Other distributions add engines through the entry point group `headrace.engines`
(see `headrace_worker.engines.registered`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace_api.worker_config import Generator

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
TOKENIZE_PATH = "/tokenize"


class EngineConfigError(ValueError):
    """The generator section asks for something that this engine cannot do; the message names key, value and remedy."""


@dataclass(frozen=True)
class Programs:
    """Where the engines' programs are: what the environment says of this machine."""

    python: str
    """The interpreter of the worker itself."""
    vllm: str
    """The Python interpreter that has vLLM."""
    embeddings: str = ""
    """The Python interpreter that has sentence-transformers; the worker's own when empty."""
    trtllm_serve: str = "trtllm-serve"
    """TensorRT-LLM's command."""


@dataclass(frozen=True)
class EngineFacts:
    """What a command line needs beside the configuration."""

    weights: str
    """Where the weights are, as `Engine.locate` found them."""
    served_name: str
    """The name that requests ask for; the engine serves under it, so that requests need no rewriting."""
    port: int
    """A free port on 127.0.0.1."""
    programs: Programs
    nvidia_gpus: int = 0
    available: frozenset[str] = frozenset()
    """The engines that can be started here (see `headrace_worker.engines.installed`)."""
    names: frozenset[str] = frozenset()
    """The names in the weights' folder."""
    architectures: tuple[str, ...] = ()
    """Those in its config.json."""
    adapters: tuple[str, ...] = ()
    """Files or folders of adapters that are here before it starts, for engines that load them then."""
    folder: str = ""
    """A folder of the engine's own, for `EngineCommand.files`."""


@dataclass(frozen=True)
class EngineCommand:
    """How to start an engine."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to its environment."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts to write before it starts, by path; all in `EngineFacts.folder`."""
    python_path: str = ""
    """A folder that comes last on its PYTHONPATH, after what it inherits and what `runtime_env.pip` installed."""


@dataclass(frozen=True)
class Call:
    """One HTTP request to an engine."""

    path: str
    body: Mapping[str, Any]
    method: str = "POST"


class AdapterDialect(Protocol):
    """How an engine is told of adapters while it runs."""

    def load(self, name: str, path: str) -> Call:
        """Serve the adapter in the local folder or file `path` under the model name `name`."""

    def unload(self, name: str) -> Call:
        """Stop serving it."""


@dataclass(frozen=True)
class Counting:
    """How the engine counts the tokens of a prompt that it does not answer: `/tokenize` tells them all as `tokens`."""

    template_path: str = ""
    """Where it makes a chat's messages a `prompt`; empty where `/tokenize` takes messages."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `/tokenize` for a text, so that it counts what a completion would."""


@dataclass(frozen=True)
class EngineApi:
    """An engine's HTTP side, as far as engines differ."""

    paths: tuple[str, ...]
    """What requests may ask for."""
    warm: Call
    """The smallest real piece of work: one token, or one embedding."""
    metrics_path: str = ""
    """Where it has Prometheus metrics; empty when nowhere."""
    metrics_prefix: str | tuple[str, ...] = ""
    """What its own metrics' names begin with; one of several where several programs may serve it."""
    adapters: AdapterDialect | None = None
    """None where adapters cannot come and go while it runs."""
    multiplexed: bool = False
    """Whether it was started to take all requests over one WebSocket (`in_vllm.headrace_multiplexer`) as well."""
    continues: bool = False
    """Whether it says the rest where a chat's last message is the beginning of the answer."""
    completion_tokens: int | None = None
    """How many tokens a completion has that names no limit; None where it has as many as there is room for."""
    counting: Counting | None = None
    """None where it cannot tell how many tokens a prompt has."""
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By path: fields of a request that this engine knows under another name, as `{"prompt": "content"}`."""


class Engine(Protocol):
    """One kind of engine: pure functions of the configuration, but for `locate`, which looks at the disk."""

    def locate(self, generator: Generator) -> str:
        """Find the weights.

        Raises:
            EngineConfigError: they are not there, or it is not clear which files are meant.
        """

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """The command line, decided from the configuration and the facts alone.

        Raises:
            EngineConfigError: an argument is unknown, one that the worker itself sets, or one that nothing would obey.
        """

    def slots(self, generator: Generator) -> int:
        """How many requests it works on at a time."""

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Lists that are put before what a request says under the same key, e.g. `{"stop": ["</s>"]}`.

        Raises:
            EngineConfigError: a stopping sequence cannot be expressed in this engine's requests.
        """

    def api(self, generator: Generator) -> EngineApi:
        """What it serves over HTTP with this configuration."""


def text_api(*more: str) -> EngineApi:
    """The HTTP side of an engine that generates text, with more paths."""
    return EngineApi(
        (CHAT_PATH, COMPLETIONS_PATH, *more),
        Call(COMPLETIONS_PATH, {"prompt": "Hello", "max_tokens": 1, "temperature": 0}),
    )


def embedding_api() -> EngineApi:
    """The HTTP side of an engine that embeds."""
    return EngineApi((EMBEDDINGS_PATH, TOKENIZE_PATH), Call(EMBEDDINGS_PATH, {"input": "Hello"}))
