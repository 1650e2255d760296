"""YAML as kubectl reads it: every value with its line, and text that kubectl reads back as the same values.

PyYAML follows YAML 1.1; kubectl's parser (sigs.k8s.io/yaml) differs where a plain word looks like a number or a date:
`1e3` and `08` are numbers to it, `1:30` and `2024-01-01` are texts. Manifests mean what kubectl reads, so its rules are
used for reading; what either of the two would take for something else is quoted when it is written.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_INTEGER = re.compile(r"^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_ANY_SIGN_OR_DIGIT = list("-+.0123456789")
_FLOAT_TAG, _INTEGER_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"
_DATE_TAG = "tag:yaml.org,2002:timestamp"
_MOST_VALUES = 1_000_000
"""Far more than a file of 1 MB holds, which is what the API server takes."""


class Malformed(Exception):  # noqa: N818
    """The text is not what was expected; `line` counts from 1."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file, self.line, self.message = file, line, message


@dataclass(frozen=True)
class Document:
    """One YAML document: its value, and the lines of all that is in it."""

    file: str
    node: yaml.Node
    data: Any

    def line(self, path: Sequence[str | int]) -> int:
        """The line of the value at `path`, or of the innermost part of the path that is there."""
        node, line = self.node, self.node.start_mark.line
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        return int(line) + 1


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that has the line of `part`, and its value."""
    if isinstance(node, yaml.MappingNode):
        # the last of two equal keys is the one that counts
        return next(((key, value) for key, value in reversed(node.value) if str(key.value) == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Resolves plain words as kubectl does; refuses what kubectl refuses."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, word) for tag, word in resolvers if tag not in {_FLOAT_TAG, _INTEGER_TAG, _DATE_TAG}]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_INTEGER_TAG, _INTEGER, _ANY_SIGN_OR_DIGIT)
_Loader.add_implicit_resolver(_FLOAT_TAG, _NUMBER, _ANY_SIGN_OR_DIGIT)
_Loader.add_implicit_resolver(_FLOAT_TAG, re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"), list("-+."))


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    old_octal = re.fullmatch(r"([-+]?)0([0-7]+)", text)
    return int(f"{old_octal[1]}0o{old_octal[2]}" if old_octal else text, 0)


def _map(loader: Any, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
    """Keys are texts, as in JSON."""
    data: dict[str, Any] = {}
    yield data
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (dict, list)):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key_node.start_mark)
        data[str(key).lower() if isinstance(key, bool) else str(key)] = loader.construct_object(value_node, deep=True)


_Loader.add_constructor(_INTEGER_TAG, _integer)
_Loader.add_constructor("tag:yaml.org,2002:map", _map)


def read(text: str, file: str) -> list[Document]:
    """Every document of a YAML stream that is not empty.

    Raises:
        Malformed: the text is not YAML, or a map has a key twice.
    """
    try:
        return list(_documents(_Loader(text), file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(file, mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Malformed(file, 1, f"not YAML: {error}") from None


def _documents(loader: Any, file: str) -> Iterator[Document]:
    try:
        while loader.check_node():
            node = loader.get_node()
            _check(node, file, frozenset(), {})
            data = loader.construct_document(node)
            if data is not None:
                yield Document(file, node, data)
    finally:
        loader.dispose()


def _check(node: yaml.Node, file: str, above: frozenset[int], sizes: dict[int, int]) -> int:
    """Refuse what kubectl refuses: a key twice in a map (one value would be dropped), aliases without end.

    Returns the number of values in the node, with every alias written out.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in above:
        raise Malformed(file, node.start_mark.line + 1, "not YAML: an anchor contains itself")
    if id(node) not in sizes:
        inner = node.value
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node, file)
            inner = [value for _, value in node.value]
        sizes[id(node)] = 1 + sum(_check(child, file, above | {id(node)}, sizes) for child in inner)
        if sizes[id(node)] > _MOST_VALUES:
            raise Malformed(file, node.start_mark.line + 1, f"not YAML: aliases make more than {_MOST_VALUES} values")
    return sizes[id(node)]


def _refuse_twice(node: yaml.MappingNode, file: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            line = key.start_mark.line + 1
            if key.value in lines:
                message = f"not YAML: the key {key.value!r} is there twice, first in line {lines[key.value]}"
                raise Malformed(file, line, message)
            lines[key.value] = line


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and repeated parts in full."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(_INTEGER_TAG, _INTEGER, _ANY_SIGN_OR_DIGIT)
_Dumper.add_implicit_resolver(_FLOAT_TAG, _NUMBER, _ANY_SIGN_OR_DIGIT)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def write(*documents: Any) -> str:
    """One YAML stream of all documents, keys in the order in which they are."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True))
