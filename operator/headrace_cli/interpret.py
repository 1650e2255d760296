"""Files of other systems as specs, or what is wrong with them, line by line."""

import functools
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from headrace_api import inference_model as api
from headrace_api.convert import ray_serve_llm as from_ray
from headrace_api.convert import registry as from_registry
from headrace_api.convert import worker_config as from_worker
from headrace_api.convert.imported import Imported, LeftOut
from headrace_api.convert.naming import resource_name
from headrace_api.convert.places import Places
from headrace_api.ray_serve_llm import LLMConfig
from headrace_api.registry import LLMApp
from headrace_api.toml_file import ConfigError, parse
from headrace_api.toml_lines import line_of
from headrace_api.two_file import CapFile, EnvFile, convert
from headrace_api.worker_config import WorkerConfig
from headrace_cli.forms import RayConfig, checked
from headrace_cli.places import Path, original
from headrace_cli.sources import Source

T = TypeVar("T", bound=BaseModel)

Said = tuple[str, int | None, str]
"""File, line and what is wrong there."""
Place = tuple[str, int]
"""File and line."""


class Refused(Exception):  # noqa: N818
    """A file says something that is not accepted."""

    def __init__(self, said: list[Said]) -> None:
        super().__init__(said)
        self.said = said


@dataclass(frozen=True)
class Model:
    """One model of a file of another system."""

    file: str
    imported: Imported
    log_level: str | None
    """From `diagnostics`; None where nothing is said."""
    place_of: Callable[[Path], Place]
    """The file and the line of what a finding's field was made of."""
    env_file: str | None = None
    """The env.toml beside a cap.toml."""

    def file_of(self, key: str) -> str:
        """The file that says `key`: of two, the surroundings have the queue and the monitoring."""
        return self.env_file if self.env_file and key.startswith(("queue.", "monitoring.")) else self.file

    def manifest(self, name: str, namespace: str | None = None) -> dict[str, Any]:
        """The InferenceModel, without what is a default anyway."""
        spec = self.imported.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if self.log_level:
            spec["monitoring"] = {**spec.get("monitoring", {}), "logLevel": self.log_level}
        metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
        return {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": metadata, "spec": spec}

    def name(self) -> str:
        """By the file's name where that is `<org>--<model>...`, else by the model's."""
        stem = PurePath(self.file).name
        return resource_name(stem) if "--" in stem.strip("-.") else self.name_of_model()

    def name_of_model(self) -> str:
        """By the name that clients use."""
        return resource_name(self.imported.spec.model_name)


def ray_model(config: RayConfig) -> Model:
    """A model of a file for Ray.

    Raises:
        Refused: it says something that is not accepted.
    """
    if config.form == "registry":
        imported, origins = _imported(config, LLMApp, from_registry.to_spec), from_registry.ORIGINS
    else:
        imported, origins = _imported(config, LLMConfig, from_ray.to_spec), from_ray.ORIGINS

    def place_of(field: Path) -> Place:
        return config.document.file, config.document.line((*config.path, *original(field, origins, config.data)))

    return Model(config.document.file, imported, None, place_of)


def _imported(config: RayConfig, model: type[T], to_spec: Callable[[T], Imported]) -> Imported:
    document, wrong = checked(config, model)
    file = config.document.file
    if document is None:
        raise Refused([(file, line, said) for line, said in wrong])
    line = config.document.line(config.path)
    return _spec(file, line, lambda: to_spec(document))


def _spec(file: str, line: int | None, make: Callable[[], Imported]) -> Imported:
    try:
        return make()
    except ValidationError as error:
        found = [(".".join(str(part) for part in one["loc"]), one["msg"], one["input"]) for one in error.errors()]
        raise Refused([(file, line, f"{where}: {said} (got {given!r:.80})") for where, said, given in found]) from None


def worker_model(source: Source) -> Model:
    """The model of a worker_config.toml.

    Raises:
        Refused: it says something that is not accepted.
    """
    config = toml(source, WorkerConfig)
    imported = _spec(source.file, 1, lambda: from_worker.to_spec(config))
    return Model(source.file, imported, None, functools.partial(_toml_place, source, from_worker.ORIGINS))


def pair_model(env: Source | None, cap: Source) -> Model:
    """The model of a cap.toml in the surroundings of an env.toml.

    Raises:
        Refused: one of them says something that is not accepted.
    """
    surroundings = EnvFile() if env is None else toml(env, EnvFile)
    capabilities = toml(cap, CapFile)
    unified = convert(surroundings, capabilities)
    imported = _spec(cap.file, 1, lambda: from_worker.to_spec(unified.config))
    dropped = [] if capabilities.gpu_model_name is None else [_GPU_MODEL]
    imported = Imported(imported.spec, (*imported.left_out, *dropped))
    level = unified.log_level.upper() if unified.log_level else None

    def place_of(field: Path) -> Place:
        if env is not None and field[1:2] in _SURROUNDINGS and field != _MODEL:
            return _toml_place(env, from_worker.ENV_ORIGINS, field)
        return _toml_place(cap, from_worker.CAP_ORIGINS, field)

    return Model(cap.file, imported, level, place_of, None if env is None else env.file)


_SURROUNDINGS = {("queue",), ("monitoring",), ("deployment",)}
_MODEL = ("spec", "queue", "checkpointName")
"""The only field of the queue that a cap.toml states."""


_GPU_MODEL = LeftOut("gpu_model_name", "it is not needed: the fingerprint is made from the generator section")


def toml(source: Source, model: type[T]) -> T:
    """A TOML file, checked.

    Raises:
        Refused: it says something that is not accepted.
    """
    try:
        return parse(source.text, source.file, model)
    except ConfigError as error:
        raise Refused([_said(source.file, line) for line in str(error).splitlines()]) from None


def _said(file: str, line: str) -> Said:
    """A line of `toml_file`: `FILE, line 3: what`, or `FILE: what`."""
    rest = line.removeprefix(file)
    if found := re.match(r", line (\d+): (.*)", rest):
        return file, int(found[1]), found[2]
    return file, None, rest.removeprefix(": ")


def _toml_place(source: Source, origins: Places, field: Path) -> Place:
    key = original(field, origins, tomllib.loads(source.text))
    return source.file, line_of(source.text, key) or 1
