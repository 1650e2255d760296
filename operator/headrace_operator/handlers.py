"""kopf's doors, thin: they keep the indices and say which model to look at. Nothing is decided here.

Only raw events are used, none of kopf's create/update/delete handlers: those would put a finalizer and an
annotation on every model, so that `kubectl delete` hangs while the operator is away.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import kopf

from headrace_operator.kinds import Kind, looks_left_behind
from headrace_operator.observed import Key, Object
from headrace_operator.world import SeenWorld

_API_BACKOFFS_SECONDS = (0.5, 1.0, *([2.0] * 1800))
"""Seconds between requests to an API server that is away.

kopf's own pauses grow to over a minute, in which it does not notice that the API server is back. After an hour of this
the operator ends, and Kubernetes starts it anew.
"""
_CHUNK = 200
"""Objects in one piece of a first list, which is parsed as a whole."""
_IDLE_SECONDS = 0.05
"""How long kopf keeps the task of an object that nothing more is heard of; each holds the object's last event."""


class _NothingStored(kopf.DiffBaseStorage):
    """No copy of every object with every event: kopf compares them for handlers that this operator does not have."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing."""


Heard = Callable[[Key, Object, bool], None]


def registry(world: SeenWorld, heard: Heard, listed: Callable[[], None]) -> kopf.OperatorRegistry:
    """All handlers.

    Args:
        world: what they fill.
        heard: called after that for every event, with the model's key, the object, and whether it is gone.
        listed: called when an object is told of by a list rather than by a watch.
    """
    handlers = kopf.OperatorRegistry()

    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        _configure(settings, world.kinds)

    indices = {kind.index: Index() for kind in world.kinds}
    world.bind({name: index.by_key for name, index in indices.items()})

    # an empty registry has no way to log in: the pod's service account first, then the user's kubeconfig
    kopf.on.login(registry=handlers, id="service-account", errors=kopf.ErrorsMode.IGNORED)(
        kopf.login_with_service_account
    )
    kopf.on.login(registry=handlers, id="kubeconfig", errors=kopf.ErrorsMode.IGNORED)(kopf.login_with_kubeconfig)
    kopf.on.startup(registry=handlers, id="configure")(configure)
    for kind in world.kinds:
        _watch(handlers, kind, indices[kind.index], heard, listed)
    return handlers


def _configure(settings: kopf.OperatorSettings, kinds: Sequence[Kind]) -> None:
    settings.posting.enabled = False  # the operator's Events are its own
    settings.scanning.disabled = True  # watching CRDs and namespaces needs cluster-wide rights
    settings.networking.error_backoffs = _API_BACKOFFS_SECONDS
    settings.persistence.diffbase_storage = _NothingStored()
    settings.watching.chunk_size = _CHUNK
    settings.queueing.idle_timeout = _IDLE_SECONDS
    for kind in kinds:
        if kind.labels:
            settings.watching.label_selectors[kind.resource] = kind.labels


class Index:
    """The objects of one kind by model.

    Not kopf's: while kopf fills its own, every object waits for all others, and is woken as often as there are others.
    With eight thousand objects that takes minutes.
    """

    def __init__(self) -> None:
        self.by_key: dict[Key, tuple[Object, ...]] = {}
        self._keys: dict[str, Key] = {}

    def put(self, key: Key, item: Object) -> None:
        """An object as it is now."""
        uid = item["metadata"]["uid"]
        self.drop(uid)
        self._keys[uid] = key
        self.by_key[key] = (*self.by_key.get(key, ()), item)

    def drop(self, uid: str) -> None:
        """An object that is gone, or nobody's."""
        if (key := self._keys.pop(uid, None)) is None:
            return
        rest = tuple(one for one in self.by_key[key] if one["metadata"]["uid"] != uid)
        if rest:
            self.by_key[key] = rest
        else:
            del self.by_key[key]


def _watch(handlers: kopf.OperatorRegistry, kind: Kind, index: Index, heard: Heard, listed: Callable[[], None]) -> None:
    # a coroutine, though it waits for nothing: kopf hands plain functions to a pool of threads
    async def event(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002  # kopf's name
        _take(kind, index, heard, dict(body), gone=type == "DELETED")
        if type is None:
            listed()

    kopf.on.event(*kind.resource, registry=handlers, id=kind.index)(event)


def _take(kind: Kind, index: Index, heard: Heard, item: Object, *, gone: bool) -> None:
    """Keep what a model's object is now, and say whose it is; one that nobody controls any more is not kept."""
    found = kind.key(item)
    if found is None or gone:
        index.drop(item["metadata"]["uid"])
    else:
        kind.trim(item)
        index.put(found, item)
    if told := found or looks_left_behind(item):
        heard(told, item, gone)
