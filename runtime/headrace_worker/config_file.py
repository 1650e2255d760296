"""Reads `worker_config.toml`, so that every mistake in it becomes one line that says where it is and what to write."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace_api.worker_config import WorkerConfig


class ConfigError(ValueError):
    """The configuration cannot be used; each line of the message is one problem, with file, line, key and remedy."""


def load(path: Path) -> WorkerConfig:
    """Read and check the configuration file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says something that is not accepted.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> WorkerConfig:
    """Check the text of a configuration file; `name` is the file's name in messages.

    Raises:
        ConfigError: as in `load`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else len(text.splitlines())  # otherwise it is "at end of document"
        raise ConfigError(f"{_place(name, line)}: not valid TOML: {error}") from error
    try:
        return WorkerConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(problem, text, name) for problem in error.errors())) from error


def _describe(problem: ErrorDetails, text: str, name: str) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    place = _place(name, line_of(text, location))
    match problem["type"]:
        case "extra_forbidden":
            return f"{place}: {key}: unknown key; accepted here: {', '.join(_fields_at(location[:-1]))}"
        case "missing" if location == ("edition",):
            return f"{place}: edition: missing; accepted: edition = 1"
        case "missing":
            return f"{place}: {key}: missing; it is required"
        case "literal_error":
            return f"{place}: {key}: {problem['input']!r} is not accepted; accepted: {problem['ctx']['expected']}"
        case _:
            return f"{place}: {key}: {problem['input']!r} is not accepted: {problem['msg']}"


def _place(name: str, line: int | None) -> str:
    return f"{name}, line {line}" if line else name


def line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """The line, from 1, on which the key at `location` (or else the deepest part of it that is found) is written."""
    wanted = [str(part) for part in location if isinstance(part, str)]
    section: list[str] = []
    found: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            section = _keys(header[1])
            here = section
        elif pair := re.match(r"""\s*([\w."'-]+(?:\s*\.\s*[\w"'-]+)*)\s*=""", line):
            here = section + _keys(pair[1])
        else:
            continue
        if here == wanted[: len(here)] and (found is None or len(here) > found[0]):
            found = (len(here), number)
    return found[1] if found else None


def _keys(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    model: Any = WorkerConfig
    for part in location:
        annotation = model.model_fields[part].annotation
        model = next((arg for arg in (annotation, *get_args(annotation)) if _is_model(arg)), None)
    return list(model.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
