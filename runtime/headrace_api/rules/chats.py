"""Rules about prompt formats: whether chats can be written into prompts at all."""

from collections.abc import Iterator

from pydantic import ValidationError

from headrace_api import prompts
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_engine import PromptFormat
from headrace_api.rules.finding import Facts, Finding, Rule, at

_PATH = "engine.generation.promptFormat"
_TEMPLATES = ("system", "assistant", "user")


def _complete(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = _given(spec)
    if given is None:
        return
    for name, field in PromptFormat.model_fields.items():
        if name in {*_TEMPLATES, "trailing_assistant"} and getattr(given, name) is None:
            none = ", '' for none" if name == "trailing_assistant" else ""
            hint = f"write its template{none}; or leave the whole promptFormat empty for a model without chat"
            yield Finding("HR421", "error", at(_PATH, field.alias or name), "is missing", hint)


def _instructions(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = _given(spec)
    for name in _TEMPLATES if given else ():
        template = getattr(given, name)
        if template is not None and "{instruction}" not in template and not (name == "system" and template == ""):
            message = f"{template!r:.80} has no place for the message"
            yield Finding("HR422", "error", at(_PATH, name), message, "write {instruction} where its text goes")


def _system_in_user(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = _given(spec)
    if given and given.system_in_user and given.user is not None and "{system}" not in given.user:
        message = f"{given.user!r:.80} has no place for the system message"
        yield Finding(
            "HR423", "error", at(_PATH, "user"), message, "write {system} in it, or set systemInUser to false"
        )


def _accepted(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    given = _given(spec)
    if given is None or any(
        found for rule in (_complete, _instructions, _system_in_user) for found in rule(spec, facts)
    ):
        return
    try:
        prompts.PromptFormat.model_validate(given.model_dump(exclude_none=True))
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False):
            message = one["msg"].removeprefix("Value error, ")
            yield Finding("HR424", "error", at(_PATH), message, "see the description of prompt formats")


def _given(spec: InferenceModelSpec) -> PromptFormat | None:
    """The format; None where there is none and where chat is disabled by an empty one."""
    given = spec.engine.generation.prompt_format
    return given if given and given.model_dump(exclude_none=True) else None


RULES = (
    Rule(
        "HR421",
        "error",
        "write system, assistant, trailingAssistant and user in a promptFormat, or leave it empty for no chat",
        _complete,
    ),
    Rule(
        "HR422",
        "error",
        "write {instruction} into the templates system, assistant and user of a promptFormat",
        _instructions,
        (
            "PromptFormat",
            (
                "(!has(self.user) || self.user.contains('{instruction}')) && "
                "(!has(self.assistant) || self.assistant.contains('{instruction}'))"
            ),
        ),
    ),
    Rule(
        "HR423",
        "error",
        "write {system} into a promptFormat's user template when systemInUser is true",
        _system_in_user,
        (
            "PromptFormat",
            "!has(self.systemInUser) || !self.systemInUser || !has(self.user) || self.user.contains('{system}')",
        ),
    ),
    Rule("HR424", "error", "a promptFormat is one that chats can be written with", _accepted),
)
