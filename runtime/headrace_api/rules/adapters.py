"""Rules about `engine.adapters`."""

from collections.abc import Iterator

from headrace_api import sources
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at
from headrace_api.worker_config import TAKES_ADAPTERS_WHILE_IT_RUNS

_WITHOUT = ("TRTLLMEngine", "EmbeddingEngine")


def _named_once(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, adapter in enumerate(spec.engine.adapters):
        if adapter.name in seen:
            message = f"{adapter.name!r} is the name of another adapter, too"
            yield Finding("HR440", "error", at("engine.adapters", index, "name"), message, "give each another name")
        seen.add(adapter.name)


def _sources(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for index, adapter in enumerate(spec.engine.adapters):
        if not sources.is_source(adapter.source):
            message = f"{adapter.source!r:.80} is no place of weights"
            hint = (
                "write an absolute path in the worker's pod, ORGANISATION/NAME or ORGANISATION/NAME@REVISION of the "
                "Hugging Face Hub, s3:// or gs://"
            )
            yield Finding("HR441", "error", at("engine.adapters", index, "source"), message, hint)


def _engine_takes_them(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.adapters and spec.engine.type in _WITHOUT:
        message = f"{spec.engine.type} is started without adapters here"
        yield Finding("HR442", "error", at("engine.adapters"), message, "leave them out, or use VLLMEngine")


def _replaces_workers(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.adapters and spec.engine.type not in {*_WITHOUT, *TAKES_ADAPTERS_WHILE_IT_RUNS}:
        which = "an engine that it may turn out to be" if spec.engine.type == "luminous" else "it"
        message = f"a change of them replaces {spec.engine.type}'s workers: {which} loads adapters when it starts only"
        yield Finding("HR443", "warning", at("engine.adapters"), message, "use VLLMEngine where they change often")


RULES = (
    Rule("HR440", "error", "engine.adapters have names of their own", _named_once),
    Rule("HR441", "error", "engine.adapters come from a path, the Hugging Face Hub, S3 or GCS", _sources),
    Rule("HR442", "error", "engine.adapters are for engines that take adapters", _engine_takes_them),
    Rule(
        "HR443",
        "warning",
        "a change of engine.adapters replaces workers of engines that load them when they start",
        _replaces_workers,
    ),
)
