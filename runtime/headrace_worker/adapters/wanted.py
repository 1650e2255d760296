"""Which adapters a worker shall serve: those of its configuration, and those of a file that is read again and again.

In Kubernetes that file is a ConfigMap's, replaced as a whole by the kubelet; on a lab machine the configuration itself.
"""

from dataclasses import dataclass
from pathlib import Path

from headrace_api.toml_file import ConfigError, parse
from headrace_api.worker_config import ADAPTER_NAME, Adapter, AdaptersFile, Generator, WorkerConfig
from headrace_worker.engines.protocol import EngineConfigError

MORE_SETS = "generator.weight_set_directories"


@dataclass(frozen=True)
class Place:
    """Where it is said which adapters there shall be."""

    generator: Generator
    """The section that the worker was started with."""
    config: Path | None = None
    """The file that it is from, which people may change; None: none that is watched."""

    def read(self) -> tuple[Adapter, ...]:
        """All that are wanted now.

        Raises:
            ConfigError: a file cannot be read or understood.
        """
        fixed = self.further_sets()
        found = self._from_adapters_file() if self.generator.adapters_file else self._from_config()
        names = {adapter.name for adapter in found}
        return (*(one for one in fixed if one.name not in names), *found)

    def further_sets(self) -> tuple[Adapter, ...]:
        """See `further_sets`."""
        return further_sets(self.generator)

    def _from_adapters_file(self) -> tuple[Adapter, ...]:
        path = Path(self.generator.adapters_file or "")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return tuple(self.generator.adapters)  # a ConfigMap that is gone: there are none any more
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot read the adapters: {error}") from error
        more = parse(text, str(path), AdaptersFile).adapters
        names = {adapter.name for adapter in more}
        return (*(one for one in self.generator.adapters if one.name not in names), *more)

    def _from_config(self) -> tuple[Adapter, ...]:
        if self.config is None:
            return tuple(self.generator.adapters)
        try:
            text = self.config.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.config}: cannot read the configuration: {error}") from error
        return tuple(parse(text, str(self.config), WorkerConfig).generator.adapters)


def further_sets(generator: Generator) -> tuple[Adapter, ...]:
    """The weight sets after the first as adapters, called as their folders are.

    Raises:
        EngineConfigError: a folder's name cannot be an adapter's, or two have the same.
    """
    found: list[Adapter] = []
    for folder in generator.weight_set_directories[1:]:
        name = Path(folder).name
        if name in {adapter.name for adapter in found}:
            raise EngineConfigError(f"{MORE_SETS}: two folders are called {name!r}; write them as generator.adapters")
        try:
            found.append(Adapter(name=name, source=folder))
        except ValueError as error:
            raise EngineConfigError(
                f"{MORE_SETS}: {folder!r}: {name!r} cannot be an adapter's name, which has the form {ADAPTER_NAME}; "
                "write it as one of generator.adapters, which have names of their own"
            ) from error
    return tuple(found)
