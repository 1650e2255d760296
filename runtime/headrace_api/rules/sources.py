"""Rules about the model: its name, where it comes from, and how chats become prompts."""

from collections.abc import Iterator

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule

_ENGINE = ("spec", "engine")


def _has_a_name(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if not spec.model_name:
        hint = "set it to the name by which clients ask for the model, or set queue.checkpointName"
        yield Finding("HR401", "error", (*_ENGINE, "modelId"), "the model has no name", hint)


RULES = (
    Rule(
        "HR401",
        "error",
        "set engine.modelId or queue.checkpointName: the model needs a name that clients can ask for",
        _has_a_name,
        ("InferenceModelSpec", "has(self.engine.modelId) || has(self.queue.checkpointName)"),
    ),
)
