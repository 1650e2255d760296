"""`worker_config.toml`, edition 1: what the worker in the pod reads."""

import tomli_w

from headrace_api import worker_config as wc
from headrace_api.portable import without_nulls


def to_toml(config: wc.WorkerConfig) -> str:
    """The TOML text, without the keys that have no value (TOML has no null)."""
    return tomli_w.dumps(without_nulls(config.model_dump(mode="json")))
