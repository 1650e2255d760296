"""Prompt formats: the document's example, the switches, what is refused, and an independent reading of the rules."""

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from headrace_api.prompts import DISABLED, AnyPromptFormat, DisabledPromptFormat, PromptFormat

LLAMA_2 = {
    "system": "<<SYS>>\n{instruction}\n<</SYS>>\n\n",
    "assistant": " {instruction} </s><s>",
    "trailing_assistant": "",
    "user": "[INST] {system}{instruction} [/INST]",
    "system_in_user": True,
}
PLAIN = {
    "system": "S({instruction})",
    "assistant": "A({instruction})",
    "trailing_assistant": "A:",
    "user": "U({instruction})",
}
INSIDE = {**PLAIN, "user": "U({system}|{instruction})", "system_in_user": True}


def said(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def rendered(fields: dict[str, Any], *turns: tuple[str, Any]) -> str:
    return PromptFormat.model_validate(fields).render(said(*turns))


def test_the_documents_llama_2_example_to_the_character() -> None:
    prompt = rendered(
        LLAMA_2,
        ("system", "You are a helpful assistant."),
        ("user", "What is the capital of France?"),
        ("assistant", "The capital of France is Paris."),
        ("user", "What about Germany?"),
    )
    assert prompt == (
        "[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nWhat is the capital of France? [/INST] "
        "The capital of France is Paris. </s><s>[INST] What about Germany? [/INST]"
    )


@pytest.mark.parametrize(
    ("switches", "turns", "prompt"),
    [
        ({}, [("user", "u")], "U(u)A:"),
        ({}, [("user", "u"), ("system", "s"), ("assistant", "a")], "S(s)U(u)A(a)A:"),
        ({}, [("developer", "s"), ("user", "u")], "S(s)U(u)A:"),
        ({"default_system_message": " d "}, [("user", "u")], "S( d )U(u)A:"),
        ({"default_system_message": "d"}, [("system", "s"), ("user", "u")], "S(s)U(u)A:"),
        ({"default_system_message": "d"}, [("system", ""), ("user", "u")], "U(u)A:"),
        ({"add_system_tags_even_if_message_is_empty": True}, [("user", "u")], "S()U(u)A:"),
        ({"add_system_tags_even_if_message_is_empty": True}, [("system", " "), ("user", "u")], "S()U(u)A:"),
        ({}, [("system", " \n"), ("user", "\tu ")], "U(u)A:"),
        ({"strip_whitespace": False}, [("system", " "), ("user", "\tu ")], "S( )U(\tu )A:"),
        ({}, [("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], "U(a\nb)A:"),
        ({}, [("user", [{"type": "text", "text": "a"}])], "U(a)A:"),
        (
            {"user": "{{U}}({instruction})"},
            [("user", "{instruction} {system} {0} }{")],
            "{U}({instruction} {system} {0} }{)A:",
        ),
        ({"trailing_assistant": "{x}}"}, [("user", "u")], "U(u){x}}"),
    ],
)
def test_the_switches(switches: dict[str, Any], turns: list[tuple[str, Any]], prompt: str) -> None:
    assert rendered({**PLAIN, **switches}, *turns) == prompt


@pytest.mark.parametrize(
    ("switches", "turns", "prompt"),
    [
        ({}, [("user", "u"), ("user", "v"), ("system", " s ")], "U(S(s)|u)U(|v)A:"),
        ({}, [("assistant", "a"), ("user", "u"), ("system", "s")], "A(a)U(S(s)|u)A:"),
        ({}, [("user", "u")], "U(|u)A:"),
        ({"default_system_message": "d"}, [("user", "u")], "U(S(d)|u)A:"),
        ({"default_system_message": "d"}, [("assistant", "a")], "A(a)A:"),
        ({}, [("system", ""), ("assistant", "a")], "A(a)A:"),
        ({}, [("system", ""), ("user", "u")], "U(|u)A:"),
        ({"add_system_tags_even_if_message_is_empty": True}, [("user", "u")], "U(S()|u)A:"),
    ],
)
def test_the_system_message_inside_the_user_turn(
    switches: dict[str, Any], turns: list[tuple[str, Any]], prompt: str
) -> None:
    assert rendered({**INSIDE, **switches}, *turns) == prompt


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: a list with at least one message"),
        (None, "messages: a list"),
        ("hello", "messages: a list"),
        ({"role": "user"}, "messages: a list"),
        ([3], "messages[0]: not a message"),
        (said(("system", "a"), ("user", "b"), ("system", "c")), "only one system message is accepted"),
        (said(("developer", "a"), ("system", "c")), "only one system message is accepted"),
        (said(("user", "a"), ("tool", "b")), "messages[1].role: 'tool' has no place"),
        (said(("function", "b")), "accepted: system, developer, user, assistant"),
        ([{"content": "x"}], "messages[0].role: None has no place"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role: ['user'] has no place"),
        (said(("user", None)), "messages[0].content: missing or not text"),
        ([{"role": "user"}], "messages[0].content: missing or not text"),
        (said(("user", 3)), "messages[0].content: missing or not text"),
        (
            said(("user", [{"type": "image_url", "image_url": {"url": "x"}}])),
            "content[0].type: 'image_url' is not accepted",
        ),
        (said(("user", ["x"])), "content[0].type: None is not accepted"),
        (said(("user", [{"type": "text", "text": 1}])), "content[0].text: missing or not text"),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
            "messages[0]: .* no place for tool calls",
        ),
        ([{"role": "assistant", "content": "x", "function_call": {"name": "f"}}], "no place for tool calls"),
    ],
)
def test_messages_that_no_prompt_can_hold(messages: Any, message: str) -> None:
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(ValueError, match=pattern.replace("messages[0]: .*", r"messages\[0\]: .*")):
        PromptFormat.model_validate(PLAIN).render(messages)


def test_a_system_message_is_not_dropped_for_want_of_a_user_message() -> None:
    with pytest.raises(ValueError, match="there is none"):
        rendered(INSIDE, ("system", "s"), ("assistant", "a"))


@pytest.mark.parametrize(
    ("fields", "key", "message"),
    [
        ({"system": "no place"}, "system", "must contain {instruction}"),
        ({"assistant": ""}, "assistant", "must contain {instruction}"),
        ({"user": "{{instruction}}"}, "user", "must contain {instruction}"),
        ({"system": "{system}{instruction}"}, "system", "{system} is unknown here; accepted: {instruction};"),
        ({"user": "{foo}{instruction}"}, "user", "{foo} is unknown here; accepted: {instruction} and {system};"),
        ({"user": "{}{instruction}"}, "user", "{} is unknown here"),
        ({"user": "{0}{instruction}"}, "user", "{0} is unknown here"),
        ({"user": "{instruction.__class__}"}, "user", "{instruction.__class__} is unknown here"),
        ({"user": "{instruction[0]}"}, "user", "{instruction[0]} is unknown here"),
        ({"user": "{instruction!r}"}, "user", "{instruction!r} is unknown here"),
        ({"user": "{instruction:>5}"}, "user", "{instruction:>5} is unknown here"),
        ({"user": "{instruction:{system}}"}, "user", "{instruction:{system}} is unknown here"),
        ({"user": "{instruction} }"}, "user", "the braces do not match"),
        ({"user": "{instruction} {"}, "user", "the braces do not match"),
        ({"user": "{system}{instruction}"}, "", "user contains {system}, which is accepted only where system_in_user"),
        ({"system_in_user": True}, "", "user must contain {system}, because system_in_user is true"),
        ({"user": "{{system}}{instruction}", "system_in_user": True}, "", "user must contain {system}"),
        ({"usre": "x"}, "usre", "Extra inputs are not permitted"),
        ({"user": 3}, "user", "valid string"),
    ],
)
def test_unusable_formats(fields: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PromptFormat.model_validate({**PLAIN, **fields})
    (problem,) = refused.value.errors()
    assert ".".join(map(str, problem["loc"])) == key
    assert message in problem["msg"]


@pytest.mark.parametrize("missing", PLAIN)
def test_all_four_templates_are_required(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        PromptFormat.model_validate({key: text for key, text in PLAIN.items() if key != missing})


def test_an_empty_format_takes_no_chat() -> None:
    either: TypeAdapter[Any] = TypeAdapter(AnyPromptFormat)
    disabled = either.validate_python({})
    assert disabled == DisabledPromptFormat()
    assert either.validate_python(disabled) == disabled
    with pytest.raises(ValueError, match=re.escape(DISABLED)):
        disabled.render(said(("user", "u")))
    assert isinstance(either.validate_python(PLAIN), PromptFormat)
    with pytest.raises(ValidationError) as refused:
        either.validate_python({"system": "{instruction}"})
    assert {problem["loc"][-1] for problem in refused.value.errors()} == {"assistant", "trailing_assistant", "user"}


# An independent reading: a template is a list of pieces, each a literal text or the name of what goes there; the text
# that a format file would hold is made from the pieces, never taken apart.
INSTRUCTION, SYSTEM = "\0instruction", "\0system"
LITERALS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


def in_a_file(pieces: list[str]) -> str:
    literal = {INSTRUCTION: "{instruction}", SYSTEM: "{system}"}
    return "".join(literal.get(piece) or piece.replace("{", "{{").replace("}", "}}") for piece in pieces)


@st.composite
def templates(draw: st.DrawFn, *needed: str) -> list[str]:
    return draw(
        st.permutations(
            [*needed, *draw(st.lists(LITERALS, max_size=3)), *draw(st.lists(st.sampled_from(needed), max_size=1))]
        )
    )


@st.composite
def formats(draw: st.DrawFn) -> dict[str, Any]:
    inside = draw(st.booleans())
    return {
        "system": draw(templates(INSTRUCTION)),
        "assistant": draw(templates(INSTRUCTION)),
        "user": draw(templates(INSTRUCTION, SYSTEM) if inside else templates(INSTRUCTION)),
        "trailing_assistant": draw(LITERALS),
        "default_system_message": draw(LITERALS),
        "system_in_user": inside,
        "add_system_tags_even_if_message_is_empty": draw(st.booleans()),
        "strip_whitespace": draw(st.booleans()),
    }


TEXTS = st.one_of(LITERALS, st.sampled_from(["", " ", "{instruction}", "{system}", " {x ", "%s", "\\1", "{{ x }}"]))
MESSAGES = st.lists(st.tuples(st.sampled_from(["system", "developer", "user", "user", "assistant"]), TEXTS), min_size=1)


def oracle(given_format: dict[str, Any], turns: list[tuple[str, str]]) -> str | None:
    """The prompt, or None where it is refused."""

    def fill(pieces: list[str], instruction: str, system: str = "") -> str:
        return "".join({INSTRUCTION: instruction, SYSTEM: system}.get(piece, piece) for piece in pieces)

    if given_format["strip_whitespace"]:
        turns = [(role, text.strip()) for role, text in turns]
    systems = [text for role, text in turns if role in {"system", "developer"}]
    others = [turn for turn in turns if turn[0] in {"user", "assistant"}]
    if len(systems) > 1:
        return None
    text = systems[0] if systems else given_format["default_system_message"]
    shown = text != "" or given_format["add_system_tags_even_if_message_is_empty"]
    pending = fill(given_format["system"], text) if shown else ""
    prompt = ""
    if not given_format["system_in_user"]:
        prompt, pending = pending, ""
    for role, content in others:
        if role == "user":
            prompt, pending = prompt + fill(given_format["user"], content, pending), ""
        else:
            prompt += fill(given_format["assistant"], content)
    lost = given_format["system_in_user"] and systems and systems[0] and all(role != "user" for role, _ in others)
    return None if lost else prompt + given_format["trailing_assistant"]


def usable(drawn: dict[str, Any]) -> PromptFormat:
    as_files_have_it = {key: in_a_file(value) if isinstance(value, list) else value for key, value in drawn.items()}
    return PromptFormat.model_validate(as_files_have_it)


@pytest.mark.slow
@given(formats(), MESSAGES)
def test_any_chat_is_rendered_as_an_independent_reading_of_the_rules_says(
    drawn: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    expected = oracle(drawn, turns)
    if expected is None:
        with pytest.raises(ValueError, match="system message"):
            usable(drawn).render(said(*turns))
    else:
        assert usable(drawn).render(said(*turns)) == expected


@pytest.mark.slow
@given(formats(), MESSAGES)
def test_a_list_of_one_text_part_is_that_text(drawn: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    assume(oracle(drawn, turns) is not None)
    parts = [(role, [{"type": "text", "text": text}]) for role, text in turns]
    assert usable(drawn).render(said(*parts)) == usable(drawn).render(said(*turns))


@given(st.dictionaries(st.sampled_from(sorted(PLAIN)), st.text("{}[]!:.0ainstructoyem ", max_size=24)))
def test_any_text_is_a_usable_template_or_refused(fields: dict[str, str]) -> None:
    try:
        prompt_format = PromptFormat.model_validate({**PLAIN, **fields})
    except ValidationError:
        return
    marked = prompt_format.render(said(("system", "<s>"), ("user", "<u>"), ("assistant", "<a>")))
    assert [marked.index(text) for text in ("<s>", "<u>", "<a>")] == sorted(map(marked.index, ("<s>", "<u>", "<a>")))
