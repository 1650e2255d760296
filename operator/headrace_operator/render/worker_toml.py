"""`worker_config.toml`, edition 1: what the worker in the pod reads."""

from typing import Any

import tomli_w

from headrace_api import worker_config as wc


def to_toml(config: wc.WorkerConfig) -> str:
    """The TOML text, without the keys that have no value (TOML has no null)."""
    return tomli_w.dumps(_without_none(config.model_dump(mode="json")))


def _without_none(table: Any) -> Any:
    """Nulls go from maps, also from those in lists; a list itself holds none (`headrace_api.portable`)."""
    if isinstance(table, dict):
        return {key: _without_none(value) for key, value in table.items() if value is not None}
    return [_without_none(item) for item in table] if isinstance(table, list) else table
