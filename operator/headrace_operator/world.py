"""What the operator has seen, from the indices of its watches and the queue: read at the moment of each reconcile.

What it hands out is what the indices hold, not a copy: nobody changes an observed object.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from headrace_api.load import Catalogue, ModelLoad
from headrace_operator import adapter_load
from headrace_operator.catalogue import catalogue
from headrace_operator.kinds import MODEL, POD, Kind, by_name
from headrace_operator.observed import Capacity, Key, Node, Object, Observed, version
from headrace_operator.root_cause.capacity import used

Index = Mapping[Key, Iterable[Object]]


class NodesSeen(Protocol):
    """What is known of nodes."""

    seen: tuple[Node, ...] | None

    def ask(self, key: Key) -> None:
        """Say that a model has a worker without a place."""


class SeenWorld:
    """Answers `observe` from indices of models, their children and their pods, each by the model's key."""

    def __init__(self, kinds: Sequence[Kind], queue_url: str | None = None) -> None:
        """`queue_url` is that of the queue whose numbers `set_load` takes; None: every model's."""
        self._queue_url = queue_url
        self.kinds = kinds
        """What is observed."""
        self._children = tuple(kind for kind in kinds if kind not in {MODEL, POD})
        self._by_name = by_name(kinds)
        self._indices: Mapping[str, Index] = {}
        self._load: Mapping[str, ModelLoad] = {}
        self._buried: frozenset[str] = frozenset()
        self._written: dict[Key, dict[str, Object]] = {}
        self._gone: set[str] = set()
        self._nodes: NodesSeen | None = None
        self._capacity: Capacity | None = None
        self._used: Mapping[tuple[str, str], int] | None = None

    def bind(self, indices: Mapping[str, Index]) -> None:
        """Take the live indices, by `Kind.index`."""
        self._indices = indices
        self._used = None

    def models(self) -> list[Object]:
        """Every model."""
        return [model for model in self._all(MODEL) if model["metadata"]["uid"] not in self._buried]

    def uids(self) -> set[str]:
        """The uids of all objects that the indices hold."""
        return {item["metadata"]["uid"] for kind in self.kinds for item in self._all(kind)}

    def bury(self, uids: set[str]) -> None:
        """These objects do not exist any more, whatever the indices say.

        An index loses an object when its watch tells of the deletion. A deletion that falls between a watch that broke
        off and the list that follows is never seen. The same may have happened to what was written, and not
        heard of since.
        """
        self._buried = frozenset(uids)
        self._written.clear()
        self._gone.clear()
        self._used = None

    def lost(self, item: Object) -> None:
        """The API server does not know this object any more, whatever the watches have told."""
        uid = item["metadata"]["uid"]
        self._buried |= {uid}
        for written in self._written.values():
            written.pop(uid, None)

    def wrote(self, key: Key, answer: Object) -> None:
        """A child of the model was written; `answer` is what it is now, and is observed until a watch tells of it.

        The watch may have been quicker than the answer: nothing more may come of this version, or of this object.
        """
        kind = self._by_name[answer["kind"]]
        uid = answer["metadata"]["uid"]
        told = (item for item in self._indices.get(kind.index, {}).get(key, ()) if item["metadata"]["uid"] == uid)
        if uid in self._gone or any(version(item) >= version(answer) for item in told):
            return
        now = dict(answer)
        kind.trim(now)
        self._written.setdefault(key, {})[now["metadata"]["uid"]] = now

    def heard(self, key: Key, item: Object, *, gone: bool) -> None:
        """A watch told of an object: it is believed when it is as new as what was written, or the object is gone."""
        if item["kind"] == POD.name and item["spec"].get("nodeName"):
            self._used = None
        if gone:
            self._gone.add(item["metadata"]["uid"])
        waited_for = self._written.get(key, {})
        answer = waited_for.get(item["metadata"]["uid"])
        if answer and (gone or version(item) >= version(answer)):
            del waited_for[item["metadata"]["uid"]]
            if not waited_for:
                del self._written[key]

    def set_nodes(self, nodes: NodesSeen) -> None:
        """Take what is known of nodes."""
        self._nodes = nodes

    def set_load(self, load: Mapping[str, ModelLoad]) -> None:
        """Take the queue's newest numbers, by model name."""
        self._load = load

    def queue_name(self, model: Object) -> str:
        """The name by which the queue knows the model; empty when it does not."""
        return name_on_queue(model, self._queue_url)

    def catalogue(self) -> Catalogue:
        """All models, and their adapters, by the names by which clients may ask the queue, and how they are."""
        models = {name: model for model in self.models() if (name := self.queue_name(model))}
        return catalogue(models, self.adapters())

    def adapters(self) -> dict[str, str]:
        """The names of all adapters on the queue, each with that of its model."""
        named = [(model, name) for model in self.models() if (name := self.queue_name(model))]
        models = {name for _, name in named}
        return {one: name for model, name in named for one in adapter_load.names(model, name) if one not in models}

    def generation(self, key: Key) -> int | None:
        """The model's generation; None when there is no such model."""
        found = self._of(MODEL, key)
        return found[0]["metadata"].get("generation") if found else None

    def observe(self, key: Key) -> Observed | None:
        """The model and all that belongs to it; None when there is no such model."""
        found = self._of(MODEL, key)
        if not found:
            return None
        model = found[0]
        pods = tuple(sorted(self._of(POD, key), key=lambda pod: str(pod["metadata"]["name"])))
        return Observed(
            model=model,
            children=self._with_written(key, [item for kind in self._children for item in self._of(kind, key)]),
            pods=pods,
            load=self._load.get(self.queue_name(model)),
            capacity=self._room(key) if any(_has_no_place(pod) for pod in pods) else None,
        )

    def _room(self, key: Key) -> Capacity | None:
        """What the nodes have room for; the same object for all models while nothing changes.

        All pods are counted once after an event of a pod that has a node, not for each model that waits for one.
        """
        if self._nodes is None:
            return None
        self._nodes.ask(key)
        if self._nodes.seen is None:
            return None
        if self._used is None:
            self._used = used(self._all(POD))
        now = Capacity(self._nodes.seen, self._used)
        if now != self._capacity:
            self._capacity = now
        return self._capacity

    def _with_written(self, key: Key, children: list[Object]) -> tuple[Object, ...]:
        written = self._written.get(key, {})
        return (*(child for child in children if child["metadata"]["uid"] not in written), *written.values())

    def _of(self, kind: Kind, key: Key) -> tuple[Object, ...]:
        newest: dict[str, Object] = {}
        for item in sorted(self._indices.get(kind.index, {}).get(key, ()), key=_age):
            if item["metadata"]["uid"] not in self._buried:
                newest[item["metadata"]["name"]] = item
        return tuple(newest.values())

    def _all(self, kind: Kind) -> list[Object]:
        return [item for items in list(self._indices.get(kind.index, {}).values()) for item in items]


def _has_no_place(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "PodScheduled" and one["status"] == "False" for one in conditions)


def _age(item: Object) -> tuple[str, int]:
    """Order objects of one name: kopf may tell of a new object before it tells that its predecessor is gone."""
    return str(item["metadata"]["creationTimestamp"]), version(item)


def model_name(model: Object) -> str:
    """The name that clients ask for, read from a spec that need not be valid; empty when there is none."""
    spec = model.get("spec") or {}
    return str((spec.get("queue") or {}).get("checkpointName") or (spec.get("engine") or {}).get("modelId") or "")


def name_on_queue(model: Object, queue_url: str | None) -> str:
    """The name of `model_name`; empty for a model whose workers pull from another queue than the one at `queue_url`."""
    url = ((model.get("spec") or {}).get("queue") or {}).get("url")
    elsewhere = url is not None and queue_url is not None and url.rstrip("/") != queue_url.rstrip("/")
    return "" if elsewhere else model_name(model)
