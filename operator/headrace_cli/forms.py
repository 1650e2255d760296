"""The forms that can be imported, told from what is in a file; a file's name says nothing."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from headrace_api.convert.imported import LeftOut
from headrace_api.toml_problems import problems
from headrace_cli.sources import Source
from headrace_cli.yaml_text import Document, Malformed, read

T = TypeVar("T", bound=BaseModel)

TomlForm = Literal["worker-config", "env", "cap"]
ACCEPTED = (
    "accepted: a model registry's YAML (engine_config), ray.serve.llm (model_loading_config or llm_configs), "
    "env.toml with cap.toml, worker_config.toml (edition = 1)"
)

_EDITION = frozenset({"edition", "generator"})
_CAP = frozenset({"checkpoint", "checkpoint_name", "gpu_model_name"})
_ENV = frozenset({"queue", "diagnostics", "monitoring"})


@dataclass(frozen=True)
class RayConfig:
    """One model of a file for Ray."""

    document: Document
    path: tuple[str | int, ...]
    """Where in the document it is."""
    data: Mapping[str, Any]
    form: Literal["registry", "ray-serve-llm"]


def toml_form(source: Source) -> TomlForm | None:
    """Which TOML document a text is; None when it is no TOML.

    Raises:
        Malformed: it is TOML, and none of them.
    """
    try:
        keys = tomllib.loads(source.text).keys()
    except (ValueError, RecursionError):
        return _broken_toml(source)
    if not keys:
        return None
    if keys & _EDITION:
        return "worker-config"
    if keys & _CAP:
        return "cap"
    if keys & _ENV:
        return "env"
    raise Malformed(source.file, 1, f"a TOML file with the keys {_listed(keys)}; {ACCEPTED}")


def _broken_toml(source: Source) -> TomlForm | None:
    """By its name a text is TOML though it cannot be read; the reader of edition 1 says what is wrong with it."""
    return "worker-config" if source.file.endswith(".toml") else None


def ray_configs(document: Document) -> list[RayConfig]:
    """The models of a YAML document for Ray.

    Raises:
        Malformed: the document is none of those for Ray.
    """
    found = list(_ray_configs(document, document.data, ()))
    if found:
        return found
    data = document.data
    what = f"a map with the keys {_listed(data)}" if isinstance(data, dict) else f"a {type(data).__name__}"
    raise Malformed(document.file, document.line(()), f"{what}; {ACCEPTED}")


def _ray_configs(document: Document, data: Any, path: tuple[str | int, ...]) -> Iterator[RayConfig]:
    if isinstance(data, list):
        for at, item in enumerate(data):
            yield from _ray_configs(document, item, (*path, at))
    if not isinstance(data, dict):
        return
    if "engine_config" in data:
        yield RayConfig(document, path, data, "registry")
    elif "model_loading_config" in data:
        yield RayConfig(document, path, data, "ray-serve-llm")
    elif "llm_configs" in data:
        yield from _ray_configs(document, data["llm_configs"], (*path, "llm_configs"))
    elif "args" in data:
        yield from _ray_configs(document, data["args"], (*path, "args"))
    elif isinstance(data.get("applications"), list):
        yield from _ray_configs(document, data["applications"], (*path, "applications"))


def around(document: Document, found: list[RayConfig]) -> list[LeftOut]:
    """What a document says beside its models: Ray Serve's applications, and configurations in other files."""
    taken = [config.path for config in found]
    return [LeftOut(_dotted(path), _why(value)) for path, value in _beside(document.data, (), taken)]


def _why(value: Any) -> str:
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return f"the model is in another file: import {value}, too"
    return "it is about Ray Serve's application, not about a model"


def _beside(data: Any, path: tuple[str | int, ...], taken: list[tuple[str | int, ...]]) -> Iterator[tuple[Any, Any]]:
    if path in taken:
        return
    if not any(one[: len(path)] == path for one in taken):
        yield path, data
        return
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield from _beside(value, (*path, key), taken)


def checked(config: RayConfig, model: type[T]) -> tuple[T | None, list[tuple[int, str]]]:
    """The model's document, or what is wrong with it, each with its line."""
    try:
        return model.model_validate(config.data), []
    except ValidationError as error:
        found = problems(error, model, config.data)
        return None, [(config.document.line((*config.path, *key)), said) for key, said in found]


def yaml_documents(source: Source) -> list[Document]:
    """The documents of a text that is not TOML.

    Raises:
        Malformed: it is not YAML, or there is nothing in it.
    """
    documents = read(source.text, source.file)
    if not documents:
        raise Malformed(source.file, 1, f"there is nothing in it; {ACCEPTED}")
    return documents


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _listed(keys: Any) -> str:
    return ", ".join(str(key) for key in list(keys)[:6])
