"""`worker_config.toml`, edition 1: what the worker in the pod reads."""

import tomli_w

from headrace_api import worker_config as wc


def to_toml(config: wc.WorkerConfig) -> str:
    """The TOML text; which keys are written is said by `worker_config.document`."""
    return tomli_w.dumps(wc.document(config))
