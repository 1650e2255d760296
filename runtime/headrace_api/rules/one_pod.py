"""Rules about nodes: with the backend Deployment one pod holds all workers of a replica, and so does one node."""

from collections.abc import Iterator

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.parallel import argument, data_parallel_size
from headrace_api.rules.finding import Facts, Finding, Rule, at

_STRATEGY = at("scaling.placementStrategy")
_WORKERS = at("scaling.numWorkers")
_ELSEWHERE = ("data_parallel_rank", "data_parallel_start_rank", "data_parallel_external_lb", "data_parallel_hybrid_lb")
"""vLLM's arguments by which some of the copies of a data parallel group run in other pods."""


def _fits_on_a_node(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    largest = facts.largest_node(spec)
    if spec.scaling.placement_strategy == "STRICT_PACK" and largest is not None and spec.gpu_share > largest:
        message = f"STRICT_PACK needs {spec.gpu_share:g} GPUs on one node; the largest node has {largest}"
        hint = f"{_fewer(spec, largest)}, or add a larger node" if largest else "add a node with GPUs"
        yield Finding("HR106", "error", _STRATEGY, message, hint)


def _fewer(spec: InferenceModelSpec, largest: int) -> str:
    copies = data_parallel_size(spec.engine.engine_kwargs)
    if copies == 1:
        return f"set numWorkers to {largest} or fewer"
    return f"make numWorkers times data_parallel_size ({copies}) {largest} or fewer"


def _fits_in_one_pod(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    largest = facts.largest_node(spec)
    if spec.scaling.placement_strategy != "STRICT_PACK" and largest is not None and spec.gpu_share > largest:
        message = f"one pod holds all {spec.gpu_share:g} GPUs of a replica; the largest node has {largest}"
        yield Finding("HR111", "warning", _WORKERS, message, "it waits until there is a node that is large enough")


def _apart(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    workers = spec.scaling.num_workers
    if spec.scaling.placement_strategy == "STRICT_SPREAD" and workers > 1:
        message = f"the {workers} workers of a replica are in one pod and cannot be on nodes of their own"
        hint = "set placementStrategy to STRICT_PACK, or numWorkers to 1 for each replica on a node of its own"
        yield Finding("HR114", "error", _STRATEGY, message, hint)


def _rather_apart(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    workers = spec.scaling.num_workers
    if spec.scaling.placement_strategy == "SPREAD" and workers > 1:
        message = f"the {workers} workers of a replica are in one pod; SPREAD spreads the replicas over nodes"
        yield Finding("HR115", "warning", _STRATEGY, message, "set it to STRICT_PACK where that is not meant")


def _copies_in_one_pod(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    kwargs = spec.engine.engine_kwargs
    if spec.engine.type != "VLLMEngine":
        return
    copies, (key, local) = data_parallel_size(kwargs), argument(kwargs, "data_parallel_size_local")
    if local is not None and str(local) != str(copies):
        message = f"{local!r:.80} is not data_parallel_size ({copies}): the engine would wait for the rest for ever"
        hint = "leave it out: one pod holds all copies"
        yield Finding("HR116", "error", at("engine.engineKwargs", key), message, hint)
    for name in _ELSEWHERE:
        key, value = argument(kwargs, name)
        if value is not None and value is not False:
            message = "is for copies in other pods, and one pod holds all copies"
            yield Finding("HR116", "error", at("engine.engineKwargs", key), message, "leave it out")


RULES = (
    Rule("HR106", "error", "STRICT_PACK needs a node with all GPUs of a replica", _fits_on_a_node),
    Rule("HR111", "warning", "one pod holds all GPUs of a replica, so some node has to have them", _fits_in_one_pod),
    Rule(
        "HR114",
        "error",
        "set placementStrategy to another than STRICT_SPREAD when numWorkers is more than 1: they are in one pod",
        _apart,
        (
            "InferenceModelSpec",
            (
                "self.backend != 'Deployment' || self.scaling.numWorkers == 1 || "
                "!has(self.scaling.placementStrategy) || self.scaling.placementStrategy != 'STRICT_SPREAD'"
            ),
        ),
    ),
    Rule("HR115", "warning", "SPREAD spreads replicas, not the workers of one", _rather_apart),
    Rule("HR116", "error", "all copies of vLLM's data parallelism are in one pod", _copies_in_one_pod),
)
