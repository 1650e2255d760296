"""Writes edition 1 as TOML, in the order of the worker-config seed's example."""

import tomli_w

from headrace_api.worker_config import WorkerConfig, document


def toml(config: WorkerConfig, *, masked: bool) -> str:
    """The text of a `worker_config.toml`; `masked` writes X's for the queue's token."""
    content = document(config, masked=masked)
    generator = content["generator"]
    tables = {key: value for key, value in generator.items() if isinstance(value, dict)}
    content["generator"] = {key: value for key, value in generator.items() if key not in tables}
    return tomli_w.dumps(content) + "\n" + tomli_w.dumps({"generator": tables})
