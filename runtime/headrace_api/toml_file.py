"""Reads a TOML document into its model, so that every mistake becomes one line: file, line, key, what is accepted.

Pure: the programs read the files, and give their names for the messages.
"""

import re
import tomllib
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from headrace_api.annotations import Key
from headrace_api.toml_lines import line_of
from headrace_api.toml_problems import Problem, key_text, problems

T = TypeVar("T", bound=BaseModel)

_DEEPEST = 32
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class ConfigError(ValueError):
    """The configuration cannot be used; each line of the message is one problem, with file, line, key and remedy."""


def parse(text: str, name: str, model: type[T]) -> T:
    """Check the text of a configuration file; `name` is the file's name in messages.

    TOML has types, so a value of another type is refused: `"7"` is no number.

    Raises:
        ConfigError: the text is not TOML, or says something that is not accepted. Nothing else, whatever the text.
    """
    document = _document(text, name)
    found = list(_unusable(document, ()))
    if not found:
        try:
            return model.model_validate(document, strict=True)
        except ValidationError as error:
            found = list(problems(error, model, document))
    raise ConfigError("\n".join(f"{_place(name, line_of(text, key))}: {said}" for key, said in found))


def located(text: str, name: str, said: str) -> str:
    """Put the place of a key before a sentence that begins with that key, for what is found wrong later."""
    key = re.match(r"([A-Za-z0-9_.-]+): ", said)
    return f"{_place(name, line_of(text, tuple(key[1].split('.'))) if key else None)}: {said}"


def _document(text: str, name: str) -> dict[str, Any]:
    try:
        text.encode()
        return tomllib.loads(text)
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise ConfigError(f"{_place(name, line)}: not valid TOML: half of a surrogate pair is no character") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; accepted: {_DEEPEST} levels") from None
    except ValueError as error:  # a TOMLDecodeError, or Python's limit for the digits of a number
        raise ConfigError(f"{_place(name, _line_in(str(error), text))}: not valid TOML: {error}") from None


def _line_in(message: str, text: str) -> int | None:
    if at := re.search(r"\(at line (\d+)", message):
        return int(at[1])
    return len(text.splitlines()) if "end of document" in message else None


def _place(name: str, line: int | None) -> str:
    return f"{name}, line {line}" if line else name


def _unusable(value: Any, key: Key) -> Iterator[Problem]:
    """What TOML's grammar lets through although TOML, or every program, has no use for it."""
    if len(key) > _DEEPEST:
        yield key[:1], f"{key_text(key[:1])}: nested too deeply; accepted: {_DEEPEST} levels"
        return
    match value:
        case dict():
            for name, item in value.items():
                yield from _without_nul(name, (*key, name))
                yield from _unusable(item, (*key, name))
        case list():
            for index, item in enumerate(value):
                yield from _unusable(item, (*key, index))
        case int() if not _SMALLEST <= value <= _LARGEST:
            yield key, f"{key_text(key)}: the number is too large; accepted: whole numbers of 64 bits"
        case str():
            yield from _without_nul(value, key)


def _without_nul(text: str, key: Key) -> Iterator[Problem]:
    if "\0" in text:  # no argument and no variable of a program can have one
        yield key, f"{key_text(key)}: a NUL character is not accepted; accepted: any other text"
