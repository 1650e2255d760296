"""What the command line says beside the manifests: a model's dimensions, the GPUs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace_api.rules.finding import Facts
from headrace_cli.errors import Trouble
from headrace_cli.values import render_config


@dataclass(frozen=True)
class Knowledge:
    """Facts for all models of a run; a model whose weights are in a local directory brings its own dimensions."""

    given: Facts

    @classmethod
    def of(
        cls, model_config: Path | None, gpu_memory: float | None, gpus_per_node: int | None, values: Path | None = None
    ) -> "Knowledge":
        """The options of the command line; what they say of GPUs wins over a values file of the chart.

        Raises:
            Trouble: a file is not a config.json, or no values file.
        """
        config = None if model_config is None else _config(model_config)
        told = Facts() if values is None else render_config(values, None, None).facts
        nodes = told.gpus_per_node if gpus_per_node is None else {"each node": gpus_per_node}
        return cls(replace(told, gpus_per_node=nodes, gpu_memory_gib=gpu_memory, model_config=config))

    def facts(self, manifest: Any) -> Facts:
        """What is known about one model."""
        if self.given.model_config is not None or (folder := _local(manifest)) is None:
            return self.given
        return replace(self.given, model_config=_config(folder / "config.json"))


def _local(manifest: Any) -> Path | None:
    """The directory on this machine that `engine.hfModelId` names, where it has a config.json."""
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    engine = spec.get("engine") if isinstance(spec, dict) else None
    source = engine.get("hfModelId") if isinstance(engine, dict) else None
    if not isinstance(source, str) or not source.startswith(("/", "./", "../")) or "\0" in source:
        return None
    return Path(source) if (Path(source) / "config.json").is_file() else None


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise Trouble(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise Trouble(f"{path}: not a map; accepted: a model's config.json")
    return config
