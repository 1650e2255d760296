"""The worker's configuration file, edition 1: one TOML document with `[generator]`, `[queue]` and `[monitoring]`.

The names and defaults are those of the worker-config seed; the generator section also takes the engine fields of the
model registry under the registry's names.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr, model_validator

from headrace_api import worker_forms
from headrace_api.annotations import VENDOR_NAME, VendorName
from headrace_api.base import Document
from headrace_api.portable import PortableMap, not_portable, without_nulls
from headrace_api.prompts import AnyPromptFormat

EngineType = Literal["VLLMEngine", "TRTLLMEngine", "EmbeddingEngine", "LlamaCppEngine", "luminous"]
"""The engine names of the registry, llama.cpp, and the worker-config seed's own: `luminous` is whichever engine can
load what the directory holds."""

OtherEngine = Annotated[VendorName, Field(pattern=VENDOR_NAME)]
"""An engine of another distribution, by its name in the entry point group `headrace.engines`: `vendor.Name`. The dot
keeps a mistyped name of ours from being taken for one."""

AnyEngine = EngineType | OtherEngine

StoppingSequence = StrictStr | StrictInt | list[StrictInt | StrictStr]
"""Text, a token id, or several of them in a row."""

SchedulerPolicy = Literal["MAX_UTILIZATION", "GUARANTEED_NO_EVICT"]
LoggerLevel = Literal["VERBOSE", "INFO", "WARNING", "ERROR", "INTERNAL_ERROR"]
Optimize = Literal["onnx"]

URL_PATTERN = r"^(https?|wss?)://.+"
"""What a queue's URL looks like."""

Port = Annotated[int, Field(ge=1, le=65535)]


class RuntimeEnv(Document):
    """Ray's runtime environment: environment variables for the engine; Ray's other keys (`pip`, ...) as they are."""

    model_config = ConfigDict(extra="allow")

    env_vars: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_portable(self) -> Self:
        extra = self.model_extra or {}
        if "envVars" in extra:
            raise ValueError("envVars is the resource's word: write env_vars")
        if problem := not_portable(extra):
            raise ValueError(problem)
        return self


class ExtraFiles(Document):
    """A folder that is fetched beside the weights."""

    bucket_uri: str
    destination_path: str


class S3AwsCredentials(Document):
    """Where credentials for the bucket are made."""

    create_aws_credentials_url: str
    auth_token_env_variable: str | None = None


class S3Mirror(Document):
    """Where the weights are in S3, instead of the Hugging Face Hub."""

    bucket_uri: str | None = None
    s3_sync_args: list[str] | None = None
    s3_aws_credentials: S3AwsCredentials | None = None
    extra_files: list[ExtraFiles] = []


class GcsMirror(Document):
    """Where the weights are in Google Cloud Storage, instead of the Hugging Face Hub."""

    bucket_uri: str
    extra_files: list[ExtraFiles] = []


class Generation(Document):
    """Default generation parameters."""

    prompt_format: AnyPromptFormat | None = None
    """How chat messages become a prompt; the tokenizer's own template when absent; no chat at all when empty."""
    generate_kwargs: PortableMap = {}
    """Parameters of a request, where the request does not say otherwise."""
    stopping_sequences: list[StoppingSequence] = []
    """Added to those that a request brings."""


class Unstable(Document):
    """Settings without a promise."""

    skip_checkpoint_load: bool = False


ADAPTER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""What an adapter can be called: it is asked for as `<model>:<adapter>`."""


class Adapter(Document):
    """Further weights on top of the model's own (LoRA), asked for as `<model>:<name>`."""

    name: str = Field(pattern=ADAPTER_NAME)
    source: str = Field(min_length=1)
    """A folder or file, a Hugging Face id, s3:// or gs://."""


def _named_once(adapters: list[Adapter]) -> list[Adapter]:
    names = [adapter.name for adapter in adapters]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"there are two adapters called {name!r}; give each another name")
    return adapters


Adapters = Annotated[list[Adapter], AfterValidator(_named_once)]


class AdaptersFile(Document):
    """A whole `adapters.toml`: what changes while a worker runs."""

    adapters: Adapters = []


TAKES_ADAPTERS_WHILE_IT_RUNS: frozenset[str] = frozenset({"VLLMEngine"})
"""Engines that load and unload adapters while they run; others have those that they were started with. `luminous` may
be either."""


class Generator(Document):
    """What to serve and how: the engine and its model.

    Fields of the registry's `engine_config` have the registry's names and are described there
    (`headrace_api.registry`); an engine refuses those that are another engine's.
    """

    type: AnyEngine
    model_id: str | None = Field(default=None, min_length=1)
    """The name that clients use; `queue.checkpoint_name` when absent."""
    hf_model_id: str | None = None
    """A Hugging Face id or a path; `model_id` when absent."""
    tokenizer_id: str | None = None
    """A tokenizer on the Hugging Face Hub; that of `hf_model_id` when absent."""
    model_type: str | None = None
    engine_kwargs: PortableMap = {}
    """Passed to the engine as they are."""
    max_total_tokens: int | None = Field(default=None, gt=0)
    """The longest prompt and answer together, in tokens."""
    runtime_env: RuntimeEnv = RuntimeEnv()
    s3_mirror_config: S3Mirror | None = None
    """Weights in S3 instead of the Hugging Face Hub."""
    gcs_mirror_config: GcsMirror | None = None
    """Weights in Google Cloud Storage instead of the Hugging Face Hub."""
    generation: Generation = Generation()
    model_local_path: str | None = None
    scheduler_policy: SchedulerPolicy | None = None
    logger_level: LoggerLevel | None = None
    max_num_sequences: int | None = Field(default=None, ge=1)
    max_tokens_in_paged_kv_cache: int | None = Field(default=None, ge=1)
    kv_cache_free_gpu_mem_fraction: float | None = Field(default=None, gt=0, le=1)
    enable_trt_overlap: bool | None = None
    max_batch_size: int | None = Field(default=None, ge=1)
    batch_wait_timeout_s: float | None = Field(default=None, ge=0)
    """EmbeddingEngine: how long a batch waits to fill up."""
    optimize: Optimize | None = None
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that each layer is divided over."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Groups of layers, each on GPUs of its own."""
    tokenizer_path: str | None = None
    weight_set_directories: list[str] = []
    """Directories with the weights; before `hf_model_id`."""
    adapters: Adapters = []
    """Served beside the model; a worker that runs follows the changes of its file."""
    adapters_file: str | None = None
    """A file with more of them (`AdaptersFile`), which may come and go."""
    auto_memory_config: bool = True
    memory_safety_margin: float = Field(default=0.05, ge=0, lt=1)
    unstable: Unstable = Unstable()

    @property
    def has_adapters(self) -> bool:
        """Whether an engine has to be started so that it can take adapters."""
        return bool(self.adapters or self.adapters_file)

    @property
    def source(self) -> str:
        """Where the weights are, a path or a Hugging Face id; empty when nothing says so."""
        if self.weight_set_directories:
            return self.weight_set_directories[0]
        return self.model_local_path or self.hf_model_id or self.model_id or ""


class Queue(Document):
    """The queue that the worker pulls from."""

    url: str = Field(default="http://localhost:8080", pattern=URL_PATTERN)
    """The queue's base URL (`http`, `https`, `ws` or `wss`); a ws or wss URL with a path is used as it is."""
    token: str | None = None
    """The worker token; `HEADRACE_QUEUE_TOKEN` in the environment takes its place."""
    checkpoint_name: str | None = Field(default=None, min_length=1)
    """The model name that requests ask for; the generator's `model_id` when absent."""
    tags: list[str] = []
    http_request_retries: int = Field(default=7, ge=0)
    hostings: list[str] = []
    max_concurrent_queries: int | None = Field(default=None, ge=1)
    """Requests at the same time; learned, up to the engine's slots, when absent."""


class Monitoring(Document):
    """Where the worker can be watched."""

    metrics_port: Port = 4000
    tcp_probes: list[Port] = []
    """Ports that accept connections only while the worker is ready."""


class WorkerConfig(Document):
    """A whole `worker_config.toml`."""

    edition: Literal[1]
    """The edition of this form."""
    generator: Generator
    """What to serve and how."""
    queue: Queue = Queue()
    monitoring: Monitoring = Monitoring()

    @property
    def model_name(self) -> str:
        """The name that clients use for the model."""
        return self.queue.checkpoint_name or self.generator.model_id or ""

    @model_validator(mode="before")
    @classmethod
    def _is_edition_1(cls, document: Any) -> Any:
        if isinstance(document, dict):
            worker_forms.refuse_other_forms_in_edition_1(document)
        return document

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.model_name:
            raise ValueError(
                "queue.checkpoint_name: missing, and so is generator.model_id; accepted: either, as the name that "
                "clients use for the model"
            )
        return self


def fingerprint(generator: Generator) -> str:
    """16 hex digits that are equal exactly for generator sections that say the same.

    Defaults that are written out and defaults that are left out count as the same: the hash is over the section's
    canonical JSON with every default filled in. Adapters are not in it: they come and go while a worker runs.
    """
    said = generator.model_dump(mode="json", exclude={"adapters", "adapters_file"})
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_ALWAYS_WRITTEN = {
    "generator": (
        *("type", "pipeline_parallel_size", "tensor_parallel_size", "tokenizer_path", "weight_set_directories"),
        *("auto_memory_config", "memory_safety_margin", "unstable"),
    ),
    "queue": ("url", "token", "checkpoint_name", "tags", "http_request_retries"),
    "monitoring": ("metrics_port", "tcp_probes"),
}
"""The keys of the worker-config seed's example, in its order."""

MASKED_TOKEN = "XXXXXXXX"  # noqa: S105 (as the worker-config seed writes it)


def document(config: WorkerConfig, *, masked: bool = False) -> dict[str, Any]:
    """The file's content: the keys of the seed's example always, all others where they differ from their defaults.

    A key without a value is left out, for TOML has none. `masked` replaces the queue's token by X's.
    """
    full, short = config.model_dump(), config.model_dump(exclude_defaults=True)
    written: dict[str, Any] = {"edition": config.edition}
    for section, always in _ALWAYS_WRITTEN.items():
        others = {key: value for key, value in short.get(section, {}).items() if key not in always}
        written[section] = without_nulls({key: full[section][key] for key in always} | others)
    if masked and "token" in written["queue"]:
        written["queue"]["token"] = MASKED_TOKEN
    return written
