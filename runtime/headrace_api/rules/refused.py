"""Rules about values with which the worker refuses to start: told before a pod crashes with them."""

from collections.abc import Iterator

from headrace_api import refusals
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_STOPS = {
    "VLLMEngine": (refusals.vllm_stops_at, "write text, a token id, or a list of one token id"),
    "TRTLLMEngine": (refusals.vllm_stops_at, "write text, a token id, or a list of one token id"),
    "LlamaCppEngine": (refusals.llamacpp_stops_at, "write text; the model's own end tokens always stop it"),
}


def _stops(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.type not in _STOPS:
        return
    accepted, hint = _STOPS[spec.engine.type]
    for index, sequence in enumerate(spec.engine.generation.stopping_sequences):
        if not accepted(sequence):
            path = at("engine.generation.stoppingSequences", index)
            yield Finding("HR431", "warning", path, f"{spec.engine.type} cannot stop at {sequence!r:.80}", hint)


def _of_the_request(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for name in spec.engine.generation.generate_kwargs:
        if name in refusals.OF_THE_REQUEST:
            path = at("engine.generation.generateKwargs", name)
            yield Finding("HR432", "error", path, "is not accepted: every request has its own", "leave it out")


def _not_in_llamacpp(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.type != "LlamaCppEngine":
        return
    if spec.engine.tokenizer_path is not None:
        message = "LlamaCppEngine has its tokenizer in the GGUF file"
        yield Finding("HR433", "error", at("engine.tokenizerPath"), message, "leave it out")
    if spec.engine.unstable.skip_checkpoint_load:
        message = "LlamaCppEngine always loads its model"
        yield Finding("HR433", "error", at("engine.unstable.skipCheckpointLoad"), message, "leave it out")


def _variables(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for name in spec.engine.runtime_env.env_vars:
        if not refusals.is_variable(name):
            message = f"{name!r:.80} cannot name an environment variable"
            yield Finding("HR434", "error", at("engine.runtimeEnv.envVars"), message, "write a name without =")


RULES = (
    Rule("HR431", "warning", "generation.stoppingSequences are ones that the engine can stop at", _stops),
    Rule("HR432", "error", "generateKwargs leave out what every request has itself", _of_the_request),
    Rule("HR433", "error", "leave out tokenizerPath and skipCheckpointLoad with LlamaCppEngine", _not_in_llamacpp),
    Rule("HR434", "error", "runtimeEnv.envVars have names that the system accepts", _variables),
)
