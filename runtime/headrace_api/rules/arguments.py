"""Rules about engine arguments: an unknown flag is a crash loop on a GPU, a dropped one is worse."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from headrace_api.engine_arguments import check
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule

_KWARGS = ("spec", "engine", "engineKwargs")


def given(spec: InferenceModelSpec) -> Mapping[str, Any]:
    """The settings that an engine argument could say a second time, by the worker file's names."""
    engine = spec.engine
    return {
        "max_total_tokens": engine.max_total_tokens,
        "tokenizer": engine.tokenizer_path or engine.tokenizer_id,
        "prompt_format": engine.generation.prompt_format is not None,
        "skip_checkpoint_load": engine.unstable.skip_checkpoint_load,
        "max_num_sequences": engine.max_num_sequences,
        "kv_cache_free_gpu_mem_fraction": engine.kv_cache_free_gpu_mem_fraction,
        "logger_level": engine.logger_level,
    }


def _findings(code: str, spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if not spec.engine.engine_kwargs:
        return
    for problem in check.problems(spec.engine.type, spec.engine.engine_kwargs, given(spec)):
        if problem.code == code:
            yield Finding(code, "error", (*_KWARGS, problem.key), problem.message, problem.hint)


_SUMMARIES = {
    check.UNKNOWN: "engineKwargs are arguments that the pinned version of the engine knows",
    check.OLDER: "engineKwargs have no arguments of older versions: the hint says what replaced them",
    check.VALUE: "an engine argument's value has the argument's type and is one of its choices",
    check.BOUNDS: "an engine argument's number is in its bounds",
    check.OWN: "engineKwargs leave out what Headrace sets itself: names, addresses, parallel sizes; and secrets",
    check.TWICE: "an engine argument is given once, in one spelling",
    check.RIVAL: "an engine argument does not say a second time what another field of the spec says",
}

RULES = tuple(Rule(code, "error", summary, partial(_findings, code)) for code, summary in _SUMMARIES.items())
