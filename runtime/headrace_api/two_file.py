"""The worker's older configuration, env.toml and cap.toml, and what it means in edition 1. Pure.

The rules are those of the worker-config seed: `[checkpoint]` becomes `[generator]`, `checkpoint_name` moves to
`[queue]`, `diagnostics` becomes the variable `LOG_LEVEL`, `gpu_model_name` is dropped, `directory` and
`tokenizer_filename` become `weight_set_directories` and `tokenizer_path`; all other sections are merged as they are.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from headrace_api import worker_config as wc
from headrace_api import worker_forms
from headrace_api.base import Document
from headrace_api.toml_file import ConfigError, parse

T = TypeVar("T", bound=BaseModel)


class EnvQueue(Document):
    """`[queue]` of an env.toml: edition 1's, without the name of the model, which is in cap.toml."""

    url: str = Field(default="http://localhost:8080", pattern=wc.URL_PATTERN)
    """The queue\'s base URL."""
    token: str | None = None
    """The worker token; `HEADRACE_QUEUE_TOKEN` in the environment takes its place."""
    hostings: list[str] = []
    tags: list[str] = []
    http_request_retries: int = Field(default=7, ge=0)
    max_concurrent_queries: int | None = Field(default=None, ge=1)


class EnvFile(Document):
    """A whole env.toml: the worker's surroundings, the same for several models."""

    diagnostics: bool | None = None
    """Log prompts, too."""
    queue: EnvQueue = EnvQueue()
    monitoring: wc.Monitoring = wc.Monitoring()

    @model_validator(mode="before")
    @classmethod
    def _is_env(cls, document: Any) -> Any:
        if isinstance(document, dict):
            worker_forms.refuse_other_forms_in_env(document)
        return document


class Checkpoint(Document):
    """`[checkpoint]` of a cap.toml."""

    type: wc.AnyEngine
    directory: str = Field(min_length=1)
    """Where the weights are, and the tokenizer."""
    tokenizer_filename: str | None = Field(default=None, min_length=1)
    """A file in `directory`."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Groups of layers, each on GPUs of its own."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that each layer is divided over."""
    auto_memory_config: bool = True
    memory_safety_margin: float = Field(default=0.05, ge=0, lt=1)
    unstable: wc.Unstable = wc.Unstable()

    @field_validator("tokenizer_filename")
    @classmethod
    def _is_a_file_name(cls, name: str | None) -> str | None:
        if name and "/" in name:
            raise ValueError(f"{name!r} is not accepted; accepted: the name of a file in directory, without a folder")
        return name


class CapFile(Document):
    """A whole cap.toml: the model that the worker serves."""

    checkpoint_name: str = Field(min_length=1)
    """The name that requests ask for."""
    gpu_model_name: str | None = None
    """It went into the fingerprint, which is the generator section's now."""
    checkpoint: Checkpoint
    """The weights and how they are loaded; edition 1 calls it `generator`."""

    @model_validator(mode="before")
    @classmethod
    def _is_cap(cls, document: Any) -> Any:
        if isinstance(document, dict):
            worker_forms.refuse_other_forms_in_cap(document)
        return document


@dataclass(frozen=True)
class Unified:
    """What two files say, in the words of edition 1."""

    config: wc.WorkerConfig
    log_level: str | None
    """What takes the place of `diagnostics`; None where that was not set."""
    notes: tuple[str, ...]
    """What edition 1 does not say any more, for people."""


def read(env_text: str, env_name: str, cap_text: str, cap_name: str) -> Unified:
    """Check and convert the texts of two files; the names are for messages.

    Raises:
        ConfigError: as in `toml_file.parse`, for both files together.
    """
    wrong: list[str] = []
    env = _parsed(env_text, env_name, EnvFile, wrong)
    cap = _parsed(cap_text, cap_name, CapFile, wrong)
    if env is None or cap is None:
        raise ConfigError("\n".join(wrong))
    return convert(env, cap)


def _parsed(text: str, name: str, model: type[T], wrong: list[str]) -> T | None:
    try:
        return parse(text, name, model)
    except ConfigError as error:
        wrong.append(str(error))
        return None


def convert(env: EnvFile, cap: CapFile) -> Unified:
    """Edition 1 of two files; everything that they do not say gets edition 1's default."""
    config = wc.WorkerConfig(
        edition=1,
        generator=_generator(cap.checkpoint),
        queue=wc.Queue(checkpoint_name=cap.checkpoint_name, **env.queue.model_dump()),
        monitoring=env.monitoring,
    )
    notes = []
    if env.diagnostics is not None:
        now = 'LOG_LEVEL="debug"' if env.diagnostics else "LOG_LEVEL, which need not be set"
        notes.append(
            f"diagnostics = {str(env.diagnostics).lower()} is not part of edition 1; in its place is the environment "
            f"variable {now}"
        )
    if cap.gpu_model_name is not None:
        notes.append(
            f"gpu_model_name = {cap.gpu_model_name!r} is dropped; the fingerprint is made from the generator section"
        )
    return Unified(config, "debug" if env.diagnostics else None, tuple(notes))


def _generator(checkpoint: Checkpoint) -> wc.Generator:
    kept = checkpoint.model_dump(exclude={"directory", "tokenizer_filename"})
    directory, tokenizer = checkpoint.directory, checkpoint.tokenizer_filename
    return wc.Generator(
        tokenizer_path=f"{directory.rstrip('/')}/{tokenizer}" if tokenizer else None,
        weight_set_directories=[directory],
        **kept,
    )
