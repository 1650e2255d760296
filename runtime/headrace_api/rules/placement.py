"""Rules about GPUs, workers and nodes."""

from collections.abc import Iterator

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule

_SCALING = ("spec", "scaling")
_ONE_GPU = "numGpusPerWorker is at most 1: for more GPUs per replica set it to 1 and numWorkers to the number of GPUs"
_PARALLEL = (
    "scaling.numWorkers is a multiple of engine.pipelineParallelSize: their quotient is the tensor parallel size"
)


def _one_gpu_per_worker(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = spec.scaling.num_gpus_per_worker
    if given is not None and given > 1:
        hint = f"set numGpusPerWorker to 1 and numWorkers to {round(given * spec.scaling.num_workers)}"
        yield Finding("HR101", "error", (*_SCALING, "numGpusPerWorker"), f"{given:g} is more than 1", hint)


def _stages_divide_workers(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    workers, stages = spec.scaling.num_workers, spec.engine.pipeline_parallel_size
    if workers % stages:
        message = f"{workers} is not a multiple of spec.engine.pipelineParallelSize ({stages})"
        hint = f"set numWorkers to {stages} times the tensor parallel size"
        yield Finding("HR102", "error", (*_SCALING, "numWorkers"), message, hint)


RULES = (
    Rule(
        "HR101",
        "error",
        _ONE_GPU,
        _one_gpu_per_worker,
        ("Scaling", "!has(self.numGpusPerWorker) || self.numGpusPerWorker <= 1.0"),
    ),
    Rule(
        "HR102",
        "error",
        _PARALLEL,
        _stages_divide_workers,
        ("InferenceModelSpec", "self.scaling.numWorkers % self.engine.pipelineParallelSize == 0"),
    ),
)
