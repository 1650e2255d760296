"""Which fields a newer revision would change, for people who shall approve it."""

import tomllib
from collections.abc import Iterator
from typing import Any

from headrace_api import names
from headrace_operator.render.leaves import leaves
from headrace_operator.render.revision import Adopted, Revision

_MOST = 20
"""Fields that are listed."""


def changes(running: Revision | Adopted, rendered: Revision) -> list[str]:
    """The paths that differ, as `worker_config.toml: queue.url` and `pod: spec.containers[worker].image`."""
    before, after = dict(_leaves(running)), dict(_leaves(rendered))
    if isinstance(running, Adopted):  # its template is as the API server keeps it, with defaults
        before = {key: value for key, value in before.items() if key in after}
        after = {key: value for key, value in after.items() if key.startswith("pod: ")}
    found = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return found[:_MOST] + more


def _leaves(revision: Revision | Adopted) -> Iterator[tuple[str, Any]]:
    yield from ((f"pod: {key}", value) for key, value in leaves(revision.template))
    if isinstance(revision, Revision):
        worker = tomllib.loads(revision.worker_file)
        yield from ((f"{names.CONFIG_FILE}: {key}", value) for key, value in leaves(worker))
