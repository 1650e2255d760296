"""What a table of engine arguments is made of, and which values an argument takes."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["boolean", "integer", "number", "size", "string", "object", "map of texts", "object or string", "json"]
"""`size` is a whole number that may have a unit (`1k`, `2M`); `json` is any JSON value."""

Form = Literal["value", "words", "repeated", "switch", "flag"]
"""How a command line takes it: `--x 1`, `--x 1 2`, `--x 1 --x 2`, `--x` or `--no-x`, only `--x`."""

_SIZE = re.compile(r"\d+[kKmMgGtT]?|\d+\.\d+[kmgt]")
_WORDS: Mapping[Kind, str] = {
    "boolean": "true or false, without quotes",
    "integer": "a whole number",
    "number": "a number",
    "size": "a whole number, also with a unit as in 16k",
    "string": "text",
    "object": "a map",
    "map of texts": "a map of texts",
    "object or string": "a map or text",
    "json": "any JSON value",
}


class Argument(NamedTuple):
    """One argument of an engine."""

    kind: Kind
    choices: tuple[Any, ...] = ()
    """The accepted values; empty: all of the kind."""
    keys: tuple[str, ...] = ()
    """The keys of a map; empty: not known, so any."""
    many: bool = False
    """A list of such values; one alone is accepted as well."""
    optional: bool = False
    """The engine itself knows a null."""
    aliases: tuple[str, ...] = ()
    """Other names that the engine accepts."""
    short: tuple[str, ...] = ()
    """The command line's one-dash names: only for suggestions."""
    default: Any = None
    """The engine's default, where it is a plain value."""
    server: bool = False
    """Only the HTTP server around the engine has it."""
    form: Form = "value"
    target: str = ""
    """The engine's own field where its name is another."""
    folded: bool = False
    """The engine reads choices without regard to case, with `-` for `_`."""
    option: bool = False
    """TensorRT-LLM's command has it as an option; the other arguments are its options file's alone."""
    only: str = ""
    """The one backend of the engine that has it; empty: all."""


class Table(NamedTuple):
    """All arguments of one version of an engine."""

    engine: str
    version: str
    arguments: Mapping[str, Argument]
    command_line: bool
    """Arguments are text on a command line: names may have dashes, and `"64"` is as good as 64."""

    def canonical(self, key: str) -> str:
        """The name in the table for a key as people write it; the key itself when the table lacks it."""
        head, dot, rest = key.partition(".")
        name = head.replace("-", "_") if self.command_line else head
        for own, argument in self.arguments.items() if name not in self.arguments else ():
            if name in argument.aliases:
                name = own
        return name + dot + rest


def expected(argument: Argument, value: Any, *, text: bool) -> str:
    """What would be accepted, when the value is not; empty when it is. With `text`, numbers in quotes are numbers.

    A null is always accepted: it means the engine's default.
    """
    if value is None:
        return ""
    if argument.many and isinstance(value, list):
        good = bool(value) and all(_good(argument, item, text=text) for item in value)
    else:
        good = _good(argument, value, text=text) and (not argument.many or text)
    return "" if good else _accepted(argument)


def _accepted(argument: Argument) -> str:
    words = " or ".join(str(choice) for choice in argument.choices if choice is not None) or _WORDS[argument.kind]
    return f"a list, of {words}" if argument.many else words


def _good(argument: Argument, value: Any, *, text: bool) -> bool:
    if not _of_kind(argument.kind, value, text=text):
        return False
    if not argument.choices:
        return True
    word = str(value).lower().replace("-", "_") if argument.folded else str(value)
    return word in {str(choice) for choice in argument.choices}


def _of_kind(kind: Kind, value: Any, *, text: bool) -> bool:
    """Asks only for the kind: reading a long list's every text as JSON, to no end, takes seconds."""
    in_quotes = text and isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and number
    good: dict[Kind, Callable[[], bool]] = {
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: whole or (in_quotes and _parses(int, value)),
        "number": lambda: number or (in_quotes and _parses(float, value)),
        "size": lambda: whole or (isinstance(value, str) and bool(_SIZE.fullmatch(value))),
        "string": lambda: isinstance(value, str) or (text and number),  # on a command line a number is text too
        "object": lambda: isinstance(value, dict) or (in_quotes and _parses(_json_object, value)),
        "map of texts": lambda: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
        "object or string": lambda: isinstance(value, dict | str),
        "json": lambda: not isinstance(value, str) or (text and _parses(json.loads, value)),
    }
    return good[kind]()


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except (AttributeError, ValueError, RecursionError):  # not JSON, not a map, or nested too deeply
        return False
    return True


def _json_object(value: str) -> dict[str, Any]:
    return dict(json.loads(value).items())
