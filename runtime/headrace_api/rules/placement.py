"""Rules about GPUs and the workers that a model is divided over."""

from collections.abc import Iterator

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_GPU = at("scaling.numGpusPerWorker")
_WORKERS = at("scaling.numWorkers")


def _one_gpu_per_worker(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = spec.scaling.num_gpus_per_worker
    if given is not None and given > 1:
        hint = f"set numGpusPerWorker to 1 and numWorkers to {given * spec.scaling.num_workers:.0f}"
        yield Finding("HR101", "error", _GPU, f"{given:g} is more than 1", hint)


def _stages_divide_workers(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    workers, stages = spec.scaling.num_workers, spec.engine.pipeline_parallel_size
    if workers % stages:
        message = f"{workers} is not a multiple of spec.engine.pipelineParallelSize ({stages})"
        hint = f"set numWorkers to {stages} times the tensor parallel size"
        yield Finding("HR102", "error", _WORKERS, message, hint)


def _whole_gpus_when_parallel(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    share, workers = spec.scaling.num_gpus_per_worker, spec.scaling.num_workers
    if share is not None and 0 < share < 1 and workers > 1:
        message = f"{workers} workers with {share:g} GPUs each would have to share GPUs"
        yield Finding("HR103", "error", _GPU, message, "set numGpusPerWorker to 1, or numWorkers to 1")


def _attention_heads(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    heads, tensor = _count(facts, "num_attention_heads", "n_head", "n_heads"), _tensor_parallel(spec)
    if spec.engine.type != "LlamaCppEngine" and heads and heads % tensor:
        message = f"the model's {heads} attention heads cannot be divided by a tensor parallel size of {tensor}"
        yield Finding("HR104", "error", _WORKERS, message, f"accepted: {_sizes(spec, heads)}")


def _kv_heads(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    heads, tensor = _count(facts, "num_key_value_heads"), _tensor_parallel(spec)
    if spec.engine.type != "LlamaCppEngine" and heads and heads % tensor and tensor % heads:
        message = f"the model's {heads} key-value heads and a tensor parallel size of {tensor} do not divide each other"
        yield Finding("HR105", "error", _WORKERS, message, f"accepted: {_sizes(spec, heads)}, or a multiple of {heads}")


def _whole_gpu_is_taken(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    share, profile = spec.scaling.num_gpus_per_worker, facts.profile(spec)
    if share is not None and 0 < share < 1 and not (profile and profile.divided):
        message = f"{share:g} takes a whole GPU: Kubernetes does not divide them"
        yield Finding(
            "HR107", "warning", _GPU, message, "set it to 1, or pick a profile of a MIG slice or a time-sliced GPU"
        )


def _llama_cpp_is_one_process(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.type != "LlamaCppEngine":
        return
    hint = "set it to 1, and distribute the model by engine.engineKwargs.split_mode and tensor_split"
    if spec.engine.pipeline_parallel_size > 1:
        message = f"{spec.engine.pipeline_parallel_size} stages are not accepted with LlamaCppEngine"
        yield Finding("HR108", "error", at("engine.pipelineParallelSize"), message, hint)
    elif spec.scaling.num_workers > 1:
        message = f"{spec.scaling.num_workers} workers are not accepted with LlamaCppEngine, which is one process"
        yield Finding("HR108", "error", _WORKERS, message, hint)


def _tensorrt_needs_gpus(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.type == "TRTLLMEngine" and spec.scaling.num_gpus_per_worker == 0:
        yield Finding("HR109", "error", _GPU, "0 is not accepted with TRTLLMEngine, which needs a GPU", "set it to 1")


def _parallel_on_cpus(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    workers = spec.scaling.num_workers
    if spec.engine.type == "VLLMEngine" and spec.scaling.num_gpus_per_worker == 0 and workers > 1:
        message = f"{workers} workers without GPUs share the pod's CPUs and multiply its memory"
        yield Finding("HR110", "warning", _WORKERS, message, "set it to 1, or to the number of the node's NUMA nodes")


def _tensor_parallel(spec: InferenceModelSpec) -> int:
    return max(spec.scaling.num_workers // spec.engine.pipeline_parallel_size, 1)


def _sizes(spec: InferenceModelSpec, heads: int) -> str:
    stages = spec.engine.pipeline_parallel_size
    return ", ".join(str(size * stages) for size in range(1, min(heads, 64) + 1) if heads % size == 0)


def _count(facts: Facts, *keys: str) -> int | None:
    """The first of the keys that the model's config.json has as a positive whole number."""
    config = facts.model_config or {}
    given = (config.get(key) for key in keys)
    return next((one for one in given if isinstance(one, int) and not isinstance(one, bool) and one > 0), None)


RULES = (
    Rule(
        "HR101",
        "error",
        "numGpusPerWorker is at most 1: for more GPUs per replica set it to 1 and numWorkers to the number of GPUs",
        _one_gpu_per_worker,
        ("Scaling", "!has(self.numGpusPerWorker) || self.numGpusPerWorker <= 1.0"),
    ),
    Rule(
        "HR102",
        "error",
        "set scaling.numWorkers to a multiple of engine.pipelineParallelSize: the quotient is the tensor parallel size",
        _stages_divide_workers,
        ("InferenceModelSpec", "self.scaling.numWorkers % self.engine.pipelineParallelSize == 0"),
    ),
    Rule(
        "HR103",
        "error",
        "set numGpusPerWorker to 1 or 0 when numWorkers is more than 1: workers do not share a GPU",
        _whole_gpus_when_parallel,
        (
            "Scaling",
            (
                "self.numWorkers == 1 || !has(self.numGpusPerWorker) || self.numGpusPerWorker == 0.0 || "
                "self.numGpusPerWorker >= 1.0"
            ),
        ),
    ),
    Rule(
        "HR104",
        "error",
        "set scaling.numWorkers so that the tensor parallel size divides the model's attention heads",
        _attention_heads,
    ),
    Rule(
        "HR105",
        "error",
        "set scaling.numWorkers so that the tensor parallel size and the model's key-value heads divide each other",
        _kv_heads,
    ),
    Rule("HR107", "warning", "a part of a GPU takes a whole one", _whole_gpu_is_taken),
    Rule(
        "HR108",
        "error",
        "set scaling.numWorkers and engine.pipelineParallelSize to 1 for LlamaCppEngine, which is one process",
        _llama_cpp_is_one_process,
        (
            "InferenceModelSpec",
            (
                "self.engine.type != 'LlamaCppEngine' || "
                "(self.scaling.numWorkers == 1 && self.engine.pipelineParallelSize == 1)"
            ),
        ),
    ),
    Rule(
        "HR109",
        "error",
        "set scaling.numGpusPerWorker to 1 for TRTLLMEngine, which needs a GPU",
        _tensorrt_needs_gpus,
        (
            "InferenceModelSpec",
            (
                "self.engine.type != 'TRTLLMEngine' || !has(self.scaling.numGpusPerWorker) || "
                "self.scaling.numGpusPerWorker > 0.0"
            ),
        ),
    ),
    Rule("HR110", "warning", "vLLM without GPUs gains nothing from several workers on one CPU", _parallel_on_cpus),
)
