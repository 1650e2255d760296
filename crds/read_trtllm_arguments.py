"""Read the arguments of `trtllm-serve` in a source tree of TensorRT-LLM; nothing of it is imported or run.

The package installs on machines with NVIDIA's libraries only, but its source says all of it: `commands/serve.py`
declares the command's options for click, and `llmapi/llm_args.py` the options file's fields as pydantic classes.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from headrace_api.engine_arguments.argument import Argument, Form, Kind

PACKAGE = "tensorrt_llm"
FILES = ("commands/serve.py", "llmapi/llm_args.py")
TABLES = ("logger.py", "llmapi/reasoning_parser.py", "serve/tool_parser/tool_parser_factory.py")
"""Where there are dicts whose keys are an option's choices."""
BASE, BACKENDS = "BaseLlmArgs", {"TrtLlmArgs": "tensorrt", "TorchLlmArgs": "pytorch"}
"""The classes whose fields are the options file's: what all backends have, and what one has."""

_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("int", "PositiveInt", "NonNegativeInt"), "integer"),
    **dict.fromkeys(("float", "PositiveFloat", "NonNegativeFloat"), "number"),
    **dict.fromkeys(("str", "Path"), "string"),
    **dict.fromkeys(("dict", "Dict"), "object"),
    "bool": "boolean",
    "object": "json",
}


class Source(NamedTuple):
    """What of the tree is looked at."""

    version: str
    serve: ast.Module
    classes: Mapping[str, ast.ClassDef]
    aliases: Mapping[str, ast.expr]
    """Names that stand for a type."""
    keys: Mapping[str, tuple[str, ...]]
    """The keys of dicts, by the dict's name, with the class's before it."""


def read(tree: Path) -> tuple[str, dict[str, Argument]]:
    """The version, and the arguments by name.

    Raises:
        SystemExit: it is no source tree of TensorRT-LLM, or its files are not as this reader knows them.
    """
    source = _source(tree)
    options, fields = dict(_options(source)), _file_fields(source)
    if not options or not fields:
        raise SystemExit(f"{tree}: no options of serve, or no fields of {BASE}: this reader does not know that version")
    found = {name: option._replace(server=True) for name, option in options.items()}
    for name, field in fields.items():  # where there are both, the file may hold the value
        option = options.get(name, field)
        choices = field.choices or option.choices
        found[name] = field._replace(choices=choices, aliases=option.aliases, option=option.option)
    return source.version, dict(sorted(found.items()))


def _source(tree: Path) -> Source:
    package = tree / PACKAGE
    missing = [path for path in ("version.py", *FILES) if not (package / path).is_file()]
    if missing:
        raise SystemExit(f"{tree}: not a source tree of TensorRT-LLM: it has no {PACKAGE}/{missing[0]}")
    version = re.search(r'__version__ = "(.+)"', (package / "version.py").read_text())
    serve, fields = (ast.parse((package / path).read_text()) for path in FILES)
    tables = [ast.parse((package / path).read_text()) for path in TABLES if (package / path).is_file()]
    return Source(
        version[1] if version else "",
        serve,
        {node.name: node for node in fields.body if isinstance(node, ast.ClassDef)},
        {
            node.target.id: node.value
            for node in fields.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        },
        {name: keys for table in tables for name, keys in _dicts(table, "")},
    )


def _dicts(body: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in body.body:
        if isinstance(node, ast.ClassDef):
            yield from _dicts(node, f"{node.name}.")
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict):
            yield prefix + target.id, tuple(_constants(key for key in value.keys if key))


def _constants(nodes: Any) -> Iterator[Any]:
    return (node.value for node in nodes if isinstance(node, ast.Constant))


def _options(source: Source) -> Iterator[tuple[str, Argument]]:
    serve = next((node for node in source.serve.body if getattr(node, "name", "") == "serve"), None)
    for call in serve.decorator_list if isinstance(serve, ast.FunctionDef) else ():
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("option"):
            yield _option(source, call)


def _option(source: Source, call: ast.Call) -> tuple[str, Argument]:
    flags = [flag.removeprefix("--") for flag in _constants(call.args) if flag.startswith("--")]
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    flag = "is_flag" in said
    kind, choices = ("boolean", ()) if flag else _click(source, said.get("type"))
    name = flags[0].replace("-", "_")
    aliases = tuple(alias.replace("-", "_") for alias in flags[1:])
    form: Form = "flag" if flag else "repeated" if "multiple" in said else "value"
    target = flags[0] if flags[0] != name else ""
    return name, Argument(
        kind,
        choices,
        many=form == "repeated",
        aliases=aliases,
        default=_plain(said.get("default")),
        form=form,
        target=target,
        option=True,
    )


def _click(source: Source, kind: ast.expr | None) -> tuple[Kind, tuple[str, ...]]:
    """A click type: a Python one, a path, or choices, written out or the keys of a dict."""
    if not isinstance(kind, ast.Call):
        return _KINDS.get(ast.unparse(kind) if kind else "str", "string"), ()
    words: list[str] = []
    for argument in kind.args:
        if isinstance(argument, ast.List):
            words += _constants(argument.elts)
        elif isinstance(argument, ast.Dict):  # other spellings of choices
            words += _constants(key for key in argument.keys if key)
        else:
            words += source.keys.get(ast.unparse(argument).removesuffix(".keys()"), ())
    return "string", tuple(sorted(words))


def _file_fields(source: Source) -> dict[str, Argument]:
    fields = dict(_fields(source, BASE))
    for name, backend in BACKENDS.items():
        for field, argument in _fields(source, name):
            fields[field] = argument if field in fields else argument._replace(only=backend)
    return fields


def _fields(source: Source, name: str) -> Iterator[tuple[str, Argument]]:
    """A class's own fields; those that only a Python object can fill are none."""
    body = source.classes[name].body if name in source.classes else []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            argument = _argument(source, node.annotation)
            if ast.unparse(node.annotation) not in {"Optional[object]", "Any"}:
                yield node.target.id, argument._replace(default=_plain(_default(node.value)))


def _argument(source: Source, annotation: ast.expr) -> Argument:
    """What an annotation accepts."""
    name, inner = _generic(annotation)
    if name in {"Optional", "Union"}:
        arms = [_argument(source, arm) for arm in inner if ast.unparse(arm) != "None"]
        optional = name == "Optional" or len(arms) < len(inner)
        return reduce(_wider, arms)._replace(optional=optional or any(arm.optional for arm in arms))
    if name in {"List", "list", "Tuple", "tuple"}:
        return _argument(source, inner[0])._replace(many=True) if inner else Argument("json")
    if name == "Literal":
        return Argument("string", tuple(_constants(inner)))
    if name in source.aliases or name == "Annotated":
        return _argument(source, source.aliases.get(name) or inner[0])
    if name in source.classes:
        return _of_class(source, source.classes[name])
    # A class of another file: a configuration, which a map fills, or a tokenizer's, which text names.
    return Argument(_KINDS.get(name, "object" if name.endswith("Config") else "string"))


def _of_class(source: Source, kind: ast.ClassDef) -> Argument:
    if any(ast.unparse(base) in {"Enum", "StrEnum"} for base in kind.bases):
        members = [node for node in kind.body if isinstance(node, ast.Assign)]
        if all(isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) for node in members):
            return Argument("string", tuple(_constants(node.value for node in members)))
        return Argument("string", tuple(ast.unparse(node.targets[0]).lower() for node in members), folded=True)
    return Argument("object", keys=tuple(sorted(_keys(source, kind))))


def _keys(source: Source, kind: ast.ClassDef) -> set[str]:
    """The names of a class's fields, its bases' and other spellings among them."""
    found = {
        name for base in kind.bases if (other := source.classes.get(ast.unparse(base))) for name in _keys(source, other)
    }
    for node in kind.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            found |= {node.target.id, *_spellings(node.value)}
    return found


def _spellings(value: ast.expr | None) -> Iterator[str]:
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg in {"alias", "validation_alias"}:
            yield from _constants(ast.walk(keyword.value))


def _wider(one: Argument, other: Argument) -> Argument:
    """What a union of two accepts: choices and keys are known only where the other adds none."""
    if one.kind == other.kind and one.many == other.many:
        both = bool(one.choices and other.choices) or not (one.choices or other.choices)
        choices = one.choices + other.choices if both else one.choices or other.choices
        # `str` beside an enumeration is how the enumeration is written
        keys = () if one.keys != other.keys else one.keys
        return one._replace(choices=choices, keys=keys, folded=one.folded or other.folded)
    if {one.kind, other.kind} == {"object", "string"}:
        return Argument("object or string")
    return Argument("json")


def _generic(annotation: ast.expr) -> tuple[str, list[ast.expr]]:
    if not isinstance(annotation, ast.Subscript):
        return ast.unparse(annotation), []
    inner = annotation.slice
    return ast.unparse(annotation.value), list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]


def _default(value: ast.expr | None) -> ast.expr | None:
    if isinstance(value, ast.Call):
        return next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    return value


def _plain(value: ast.expr | None) -> Any:
    return value.value if isinstance(value, ast.Constant) else None
