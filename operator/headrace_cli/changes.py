"""What would change: two states of an object, as text and as data. Pure."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace_cli.yaml_text import write
from headrace_operator.render.leaves import leaves

Object = dict[str, Any]

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Change:
    """An object before and after; one of them is None when it is made or deleted."""

    kind: str
    name: str
    before: Object | None
    after: Object | None

    @property
    def action(self) -> str:
        """What would be done."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"

    def text(self) -> str:
        """A unified diff of the two as YAML."""
        old, new = (_lines(state) for state in (self.before, self.after))
        title = f"{self.kind}/{self.name}"
        names = (f"{title} (live)" if old else "/dev/null", f"{title} (after)" if new else "/dev/null")
        return "".join(difflib.unified_diff(old, new, *names))

    def data(self) -> Object:
        """The same for programs: every key that differs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "action": self.action,
            "changes": [{"key": key, "before": old, "after": new} for key, old, new in self._keys()],
        }

    def _keys(self) -> Iterator[tuple[str, Any, Any]]:
        old, new = (dict(leaves(state)) if state else {} for state in (self.before, self.after))
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new or old[key] != new[key]:
                yield key, old.get(key), new.get(key)


def change(before: Object | None, after: Object | None) -> Change | None:
    """The difference of two states; None when the API server's bookkeeping is all that differs."""
    old, new = (None if state is None else without_bookkeeping(state) for state in (before, after))
    if old == new:
        return None
    some = new or old or {}
    return Change(some["kind"], some["metadata"]["name"], old, new)


def without_bookkeeping(item: Object) -> Object:
    """The object without its status and without what the API server keeps for itself."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _BOOKKEEPING}
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != _LAST_APPLIED}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}


def _lines(state: Object | None) -> list[str]:
    return [] if state is None else write(state).splitlines(keepends=True)
