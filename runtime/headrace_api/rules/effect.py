"""Warnings about fields that are kept for the files of others and that this version does nothing with.

Whoever gives a field its effect removes its warning here.
"""

from collections.abc import Iterator

from headrace_api import runtime_env
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_GENERATES_TEXT = ("VLLMEngine", "LlamaCppEngine", "luminous")


def _runtime_env(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for wrong in runtime_env.refused(spec.engine.runtime_env.model_extra or {}):
        message = f"is kept, but the worker refuses to start with it: {wrong.reason}"
        yield Finding("HR906", "warning", at("engine.runtimeEnv", *wrong.key.split(".")), message, wrong.hint)


def _model_type(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    kind = spec.engine.model_type
    if kind not in {None, "text-generation"} and spec.engine.type in _GENERATES_TEXT:
        message = f"{kind!r} is kept, but the worker refuses to start with it: its engines generate text"
        yield Finding("HR907", "warning", at("engine.modelType"), message, "leave it out, or write text-generation")


def _weight_sets(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if len(spec.engine.weight_set_directories) > 1:
        message = (
            "the first folder is the model; the worker refuses to start where the others are no LoRA adapters of it"
        )
        hint = "name one folder, and adapters in engine.adapters, which can change while workers run"
        yield Finding("HR908", "warning", at("engine.weightSetDirectories"), message, hint)


def _other_buckets(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.ray.model_source and not (spec.engine.hf_model_id or spec.engine.weight_set_directories):
        message = (
            f"is kept, but its weights are not fetched: the worker asks the Hugging Face Hub for {spec.model_name!r}"
        )
        hint = "mount the weights with spec.template and name their folder in engine.weightSetDirectories"
        yield Finding("HR909", "warning", at("ray.modelSource"), message, hint)


def _adapters(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.ray.lora_config:
        message = "is kept, but this version loads no adapters from a folder of them"
        yield Finding("HR910", "warning", at("ray.loraConfig"), message, "name each of them in engine.adapters")


def _propagated(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.ray.env_vars_to_propagate:
        message = f"{', '.join(spec.ray.env_vars_to_propagate)} is kept, but not propagated: there is no Ray driver"
        hint = "set the variables in engine.runtimeEnv.envVars, or as env of the container in spec.template"
        yield Finding("HR913", "warning", at("ray.envVarsToPropagate"), message, hint)


def _multiplexing(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.ray.multiplex_config:
        message = "is kept, but a worker of this version serves one model"
        yield Finding("HR914", "warning", at("ray.multiplexConfig"), message, "write an InferenceModel for each model")


RULES = (
    Rule(
        "HR906",
        "warning",
        "runtimeEnv's keys other than envVars and pip are kept; the worker does not act on them",
        _runtime_env,
    ),
    Rule("HR907", "warning", "modelType other than text-generation is kept; the engines generate text", _model_type),
    Rule(
        "HR908",
        "warning",
        "weightSetDirectories after the first are LoRA adapters; others cannot be loaded",
        _weight_sets,
    ),
    Rule(
        "HR909",
        "warning",
        "ray.modelSource is kept; weights are fetched from S3 and Google Cloud Storage only",
        _other_buckets,
    ),
    Rule("HR910", "warning", "ray.loraConfig is kept; adapters are not fetched from buckets", _adapters),
    Rule("HR913", "warning", "ray.envVarsToPropagate is kept; no variables are propagated", _propagated),
    Rule("HR914", "warning", "ray.multiplexConfig is kept; a worker serves one model", _multiplexing),
)
