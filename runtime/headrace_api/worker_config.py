"""The worker's configuration file, edition 1: one TOML document with `[generator]`, `[queue]` and `[monitoring]`.

The names and defaults are those of the worker-config seed; the generator section also takes the engine fields of the
model registry under the registry's names.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from headrace_api.base import Document

EngineType = Literal["VLLMEngine", "TRTLLMEngine", "EmbeddingEngine", "LlamaCppEngine"]
"""The engine names of the registry, and llama.cpp."""

StoppingSequence = str | int | list[int]
"""Text, a token id, or several token ids in a row."""

Port = Annotated[int, Field(ge=1, le=65535)]


class RuntimeEnv(Document):
    """Ray's runtime environment, as far as a container has one: environment variables for the engine."""

    env_vars: dict[str, str] = {}


class Generation(Document):
    """Default generation parameters."""

    stopping_sequences: list[StoppingSequence] = []
    """Added to those that a request brings."""


class Unstable(Document):
    """Settings without a promise."""

    skip_checkpoint_load: bool = False


class Generator(Document):
    """What to serve and how: the engine and its model."""

    type: EngineType
    model_id: str = Field(min_length=1)
    hf_model_id: str | None = None
    """A Hugging Face id or a path; `model_id` when absent."""
    engine_kwargs: dict[str, Any] = {}
    """Passed to the engine as they are."""
    max_total_tokens: int | None = Field(default=None, gt=0)
    """The longest prompt and answer together, in tokens."""
    runtime_env: RuntimeEnv = RuntimeEnv()
    generation: Generation = Generation()
    tensor_parallel_size: int = Field(default=1, ge=1)
    pipeline_parallel_size: int = Field(default=1, ge=1)
    tokenizer_path: str | None = None
    weight_set_directories: list[str] = []
    auto_memory_config: bool = True
    memory_safety_margin: float = Field(default=0.05, ge=0, lt=1)
    unstable: Unstable = Unstable()

    @property
    def source(self) -> str:
        """Where the weights are: a path or a Hugging Face id."""
        if self.weight_set_directories:
            return self.weight_set_directories[0]
        return self.hf_model_id or self.model_id


class Queue(Document):
    """The queue that the worker pulls from."""

    url: str = "http://localhost:8080"
    """The queue's base URL (`http`, `https`, `ws` or `wss`); a ws or wss URL with a path is used as it is."""
    token: str | None = None
    checkpoint_name: str | None = None
    """The model name that requests ask for; the generator's `model_id` when absent."""
    tags: list[str] = []
    http_request_retries: int = Field(default=7, ge=0)
    hostings: list[str] = []
    max_concurrent_queries: int | None = Field(default=None, ge=1)
    """Requests at the same time; the engine's own number of slots when absent."""


class Monitoring(Document):
    """Where the worker can be watched."""

    metrics_port: Port = 4000
    tcp_probes: list[Port] = []
    """Ports that accept connections only while the worker is ready."""


class WorkerConfig(Document):
    """A whole `worker_config.toml`."""

    edition: Literal[1]
    generator: Generator
    queue: Queue = Queue()
    monitoring: Monitoring = Monitoring()

    @property
    def model_name(self) -> str:
        """The name that clients use for the model."""
        return self.queue.checkpoint_name or self.generator.model_id


def fingerprint(generator: Generator) -> str:
    """16 hex digits that are equal exactly for generator sections that say the same.

    Defaults that are written out and defaults that are left out count as the same: the hash is over the section's
    canonical JSON with every default filled in.
    """
    canonical = json.dumps(generator.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
