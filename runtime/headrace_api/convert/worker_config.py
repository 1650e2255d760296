"""The worker's configuration file, edition 1, and the spec, both ways."""

from headrace_api import worker_config as wc
from headrace_api.convert.imported import Imported, LeftOut
from headrace_api.convert.places import Places, complete, inverse, move, put, stated, without_place
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.portable import without_nulls

_SAME = (
    *("type", "model_id", "hf_model_id", "tokenizer_id", "model_type", "engine_kwargs", "max_total_tokens"),
    *("runtime_env", "generation", "model_local_path", "scheduler_policy", "logger_level", "max_num_sequences"),
    *("max_tokens_in_paged_kv_cache", "kv_cache_free_gpu_mem_fraction", "enable_trt_overlap", "max_batch_size"),
    *("optimize", "pipeline_parallel_size", "tokenizer_path", "weight_set_directories", "adapters", "unstable"),
)
_PLACES: Places = (
    *((f"generator.{name}", f"engine.{name}") for name in _SAME),
    ("generator.s3_mirror_config", "engine.s3_mirror"),
    ("generator.gcs_mirror_config", "engine.gcs_mirror"),
    ("generator.batch_wait_timeout_s", "engine.batch_wait_timeout_seconds"),
    ("generator.auto_memory_config", "engine.memory.auto_memory_config"),
    ("generator.memory_safety_margin", "engine.memory.memory_safety_margin"),
    ("queue.url", "queue.url"),
    ("queue.checkpoint_name", "queue.checkpoint_name"),
    ("queue.tags", "queue.tags"),
    ("queue.hostings", "queue.hostings"),
    ("queue.http_request_retries", "queue.http_request_retries"),
    ("queue.max_concurrent_queries", "deployment.max_concurrent_queries"),
    ("monitoring.metrics_port", "monitoring.metrics_port"),
    ("monitoring.tcp_probes", "monitoring.tcp_probes"),
)
ORIGINS: Places = (
    *_PLACES,
    ("generator.tensor_parallel_size", "scaling.num_workers"),
    ("generator.pipeline_parallel_size", "scaling.num_workers"),
)
"""Where the file says what a field of the spec says; more than `_PLACES` by what is not only moved."""
_CAP = {
    "generator.tokenizer_path": "checkpoint.tokenizer_filename",
    "generator.weight_set_directories": "checkpoint.directory",
    "queue.checkpoint_name": "checkpoint_name",
}
CAP_ORIGINS: Places = tuple(
    (_CAP.get(theirs, theirs.replace("generator.", "checkpoint.")), ours)
    for theirs, ours in ORIGINS
    if theirs in _CAP or theirs.startswith("generator.")
)
"""The same for a cap.toml; what is not in the table is in its env.toml."""
ENV_ORIGINS: Places = tuple(
    (theirs, ours) for theirs, ours in ORIGINS if theirs not in _CAP and not theirs.startswith("generator.")
)
"""The same for an env.toml."""
_ADAPTERS_FILE = LeftOut("generator.adapters_file", "write its adapters to spec.engine.adapters")
_TOKEN = LeftOut("queue.token", "a resource holds no token: put it into a Secret and name it in queue.tokenSecretRef")


def to_spec(doc: wc.WorkerConfig) -> Imported:
    """The spec of one worker of the file.

    A file without `queue.url` means the file's default URL and not the chart's queue, so the spec says it.
    """
    spec = move(stated(doc), _PLACES)
    put(spec, "queue.url", doc.queue.url)
    put(spec, "scaling.num_workers", doc.generator.tensor_parallel_size * doc.generator.pipeline_parallel_size)
    there = ((_TOKEN, doc.queue.token), (_ADAPTERS_FILE, doc.generator.adapters_file))
    left_out = tuple(one for one, value in there if value is not None)
    return Imported(InferenceModelSpec.model_validate(spec), left_out)


def from_spec(spec: InferenceModelSpec, queue_url: str) -> wc.WorkerConfig:
    """The file of a spec that `rules.chain.check` finds no error in, without the token and, as in TOML, without nulls.

    Args:
        spec: the model's spec.
        queue_url: the queue of a model that names none.

    Raises:
        pydantic.ValidationError: fields contradict each other, in a spec that the rules refuse.
    """
    document = without_nulls(move(complete(spec), inverse(_PLACES)))
    document["queue"].setdefault("url", queue_url)
    tensor_parallel_size = spec.scaling.num_workers // spec.engine.pipeline_parallel_size
    put(document, "generator.tensor_parallel_size", tensor_parallel_size)
    return wc.WorkerConfig.model_validate({"edition": 1, **document})


def not_exported(spec: InferenceModelSpec) -> tuple[LeftOut, ...]:
    """What the spec says and a worker file cannot."""
    known = (*(ours for _, ours in _PLACES), "scaling.num_workers", "ray.dialect")
    return without_place(spec, known, "a worker file has no key for it")
