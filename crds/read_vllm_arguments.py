"""Print the arguments of vLLM's OpenAI server as JSON; run by crds/engine_arguments.py in vLLM's own interpreter.

vLLM's parser says all of it: each action's type is a function, whose closure holds the class of a nested configuration.
"""

import argparse
import dataclasses
import inspect
import json
import sys
from typing import Any

import vllm.platforms
from vllm.platforms.cpu import CpuPlatform

KINDS = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "loads": "json",
    "_parse_type": "object",
    "parse_dataclass": "object",
    "union_dict_and_str": "object or string",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size",
}
FORMS = {"BooleanOptionalAction": "switch", "_StoreTrueAction": "flag", "_AppendAction": "repeated"}


def unwrapped(kind: Any) -> Any:
    """The type inside vLLM's `optional_type`."""
    while getattr(kind, "__name__", "") == "_optional_type":
        kind = inspect.getclosurevars(kind).nonlocals["return_type"]
    return kind


def keys(kind: Any) -> list[str]:
    """The fields of the dataclass that a parser of JSON makes."""
    for value in getattr(kind, "__defaults__", None) or ():
        if dataclasses.is_dataclass(value):
            return sorted(field.name for field in dataclasses.fields(value) if field.init)
    return []


def described(action: Any) -> dict[str, Any]:
    """One argument, without what is as usual."""
    kind, form = unwrapped(action.type), FORMS.get(type(action).__name__, "value")
    many = action.nargs == "+" or form == "repeated"
    name = "boolean" if form in {"switch", "flag"} else KINDS.get(getattr(kind, "__name__", "str"), "string")
    if name == "json" and not isinstance(action.default, list):
        name = "object"
    if type(action).__name__ == "LoRAParserAction":  # `name=path` or JSON
        name = "object or string"
    long = [text[2:].replace("-", "_") for text in action.option_strings if text.startswith("--")]
    default = action.default if isinstance(action.default, bool | int | float | str) else None
    return {
        "kind": name,
        "choices": [choice for choice in action.choices or () if choice not in {None, "None"}],
        "keys": keys(kind),
        "many": many,
        "optional": kind is not action.type,
        "aliases": sorted(word for word in long if word not in {action.dest, f"no_{action.dest}"}),
        "short": sorted(text[1:] for text in action.option_strings if not text.startswith("--")),
        "default": None if default == argparse.SUPPRESS else default,
        "server": action.container.title == "Frontend",
        "form": "words" if many and form == "value" else form,
        "folded": getattr(kind, "__name__", "") == "<lambda>" and bool(action.choices),
    }


def main() -> None:
    """Print all of them."""
    # Which platform vLLM finds must not matter, and without a GPU the builds for GPUs find none.
    vllm.platforms._current_platform = CpuPlatform()  # noqa: SLF001 - there is no other way to say so
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: PLC0415 - reads the platform
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    parser = make_arg_parser(FlexibleArgumentParser())
    actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]  # noqa: SLF001
    found = {action.dest: described(action) for action in actions}
    json.dump({"version": vllm.__version__, "arguments": found}, sys.stdout)


if __name__ == "__main__":
    main()
