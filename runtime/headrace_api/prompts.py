"""Prompt formats of the model registry: chat messages in, the text of one prompt out. Pure.

The rules are those of the registry's document ("Prompt Format"); where it is silent, those of its public
implementation, except that nothing a client wrote is dropped silently: what has no place in the prompt is refused.
Templates are `str.format` texts of which only `{instruction}` and, in `user`, `{system}` may be asked for; what a
message says is never read as a template.
"""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Discriminator, GetJsonSchemaHandler, Tag, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from headrace_api.base import Document

DISABLED = "This model takes prompts only (its prompt format is disabled): use /v1/completions"

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""OpenAI's roles and what they are here: `developer` is what newer clients call the system message."""


class Turn(NamedTuple):
    """A message as a prompt format sees it."""

    role: str
    text: str


class PromptFormat(Document):
    """How each message of a chat is written into the prompt."""

    system: str
    assistant: str
    trailing_assistant: str
    """What comes before the answer: literal, braces in it mean nothing."""
    user: str
    default_system_message: str = ""
    """Used when there is no system message at all; an empty one counts as one."""
    system_in_user: bool = False
    """The system message is written into the first user message, where `{system}` stands."""
    add_system_tags_even_if_message_is_empty: bool = False
    strip_whitespace: bool = True
    """Whether messages lose the white space around them. The default system message is written as it is."""

    @field_validator("system", "assistant")
    @classmethod
    def _takes_the_instruction(cls, template: str) -> str:
        return _checked(template, {"instruction"})

    @field_validator("user")
    @classmethod
    def _takes_both(cls, template: str) -> str:
        return _checked(template, {"instruction", "system"})

    @model_validator(mode="after")
    def _system_has_its_place(self) -> Self:
        inside = "system" in _placeholders(self.user)
        if self.system_in_user and not inside:
            raise ValueError("user must contain {system}, because system_in_user is true")
        if inside and not self.system_in_user:
            raise ValueError("user contains {system}, which is accepted only where system_in_user is true")
        return self

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt for OpenAI-shaped messages.

        Raises:
            ValueError: a message has no place in a prompt; the text is for the client.
        """
        turns = [Turn(role, text.strip() if self.strip_whitespace else text) for role, text in read(messages)]
        given = _system_text(turns)
        conversation = [turn for turn in turns if turn.role != "system"]
        system = self._written_system(self.default_system_message if given is None else given)
        if not self.system_in_user:
            return "".join([system, *(self._written(turn) for turn in conversation), self.trailing_assistant])
        first = next((at for at, turn in enumerate(conversation) if turn.role == "user"), None)
        if given and first is None:
            raise ValueError("messages: this model's system message is written into a user message; there is none")
        written = [self._written(turn, system if at == first else "") for at, turn in enumerate(conversation)]
        return "".join([*written, self.trailing_assistant])

    def _written_system(self, text: str) -> str:
        if text or self.add_system_tags_even_if_message_is_empty:
            return self.system.format(instruction=text)
        return ""

    def _written(self, turn: Turn, system: str = "") -> str:
        if turn.role == "user":
            return self.user.format(instruction=turn.text, system=system)
        return self.assistant.format(instruction=turn.text)


class DisabledPromptFormat(Document):
    """An empty prompt format: the model takes prompts, no chat."""

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:  # noqa: ARG002 (as PromptFormat.render)
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(DISABLED)


def _kind(value: Any) -> str:
    if isinstance(value, DisabledPromptFormat) or (isinstance(value, Mapping) and not value):
        return DisabledPromptFormat.__name__
    return PromptFormat.__name__


class _AnyOf:
    """Writes the two as `anyOf` into JSON schemas, as every other union there."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        return {"anyOf": written.pop("oneOf"), **written}


AnyPromptFormat = Annotated[
    Annotated[PromptFormat, Tag(PromptFormat.__name__)]
    | Annotated[DisabledPromptFormat, Tag(DisabledPromptFormat.__name__)],
    Discriminator(_kind),
    _AnyOf(),
]
"""A prompt format, or `{}` for no chat: told apart before either is checked, so that mistakes are those of one."""


def read(messages: Any) -> list[Turn]:
    """Check that messages, as a client sent them, are texts of roles that a prompt can hold.

    Text parts are joined by line ends, as vLLM and llama.cpp join them.

    Raises:
        ValueError: the first one that is not; the text names it and says what is accepted.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError("messages: a list with at least one message is needed")
    return [_read_one(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _read_one(message: Any, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where}: not a message; accepted: an object with role and content")  # noqa: TRY004
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(
            f"{where}.role: {role!r} has no place in this model's prompt format; accepted: {', '.join(_ROLES)}"
        )
    if message.get("tool_calls") or message.get("function_call"):
        raise ValueError(f"{where}: this model's prompt format has no place for tool calls; accepted: text")
    return Turn(_ROLES[role], _text(message.get("content"), f"{where}.content"))


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise ValueError(f"{where}: missing or not text; accepted: text, or a list of text parts")  # noqa: TRY004
    return "\n".join(_part(part, f"{where}[{at}]") for at, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text":
        raise ValueError(f"{where}.type: {kind!r} is not accepted by this model's prompt format; accepted: 'text'")
    text = part.get("text")
    if not isinstance(text, str):
        raise ValueError(f"{where}.text: missing or not text")  # noqa: TRY004 (it answers a client's request)
    return text


def _system_text(turns: Sequence[Turn]) -> str | None:
    """The text of the only system message.

    Raises:
        ValueError: there are several.
    """
    texts = [turn.text for turn in turns if turn.role == "system"]
    if len(texts) > 1:
        raise ValueError(f"messages: only one system message is accepted (developer counts as one); got {len(texts)}")
    return texts[0] if texts else None


def _checked(template: str, accepted: set[str]) -> str:
    """The template itself.

    Raises:
        ValueError: it cannot be used.
    """
    if strange := _placeholders(template) - accepted:
        words = " and ".join(f"{{{name}}}" for name in sorted(accepted))
        raise ValueError(f"{{{min(strange)}}} is unknown here; accepted: {words}; a literal brace is written twice")
    if "instruction" not in _placeholders(template):
        raise ValueError("must contain {instruction}, where the message's text goes")
    return template


def _placeholders(template: str) -> set[str]:
    """What stands between braces, with whatever follows the name (`.x`, `[0]`, `!r`, `:>5`) as a part of it."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the braces do not match ({error}); a literal brace is written twice") from error
    return {
        name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        for _, name, spec, conversion in parts
        if name is not None
    }
