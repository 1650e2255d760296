"""Which model names the queue knows: from options, from the operator's catalogues and from connected workers."""

from collections.abc import Iterable, Mapping

from headrace_api.load import Catalogue, ModelState
from headrace_queue.metrics import OTHER
from headrace_queue.schedule import Schedule


class ModelNames:
    """The known names.

    An operator's catalogue outlives its connection, so that an operator's restart makes no model unknown; the next
    catalogue of any connection replaces those of all connections that have ended.
    """

    def __init__(
        self,
        fixed: Iterable[str],
        schedule: Schedule,
        aliases: Mapping[str, str] | None = None,
        *,
        expecting: bool = False,
    ) -> None:
        self.expecting = expecting
        """Whether a first catalogue is awaited: until then no name can be called unknown."""
        self._fixed = frozenset(fixed)
        self._schedule = schedule
        self._aliases = dict(aliases or {})
        self._catalogues: dict[int, Catalogue] = {}
        self._names: dict[int, frozenset[str]] = {}
        self._connected: set[int] = set()

    def operator_connected(self, connection: int) -> None:
        """An operator's connection has begun."""
        self._connected.add(connection)

    def operator_left(self, connection: int) -> None:
        """It has ended; what it said stays."""
        self._connected.discard(connection)

    def set_catalogue(self, connection: int, catalogue: Catalogue) -> None:
        """An operator says what models there are."""
        kept = {key: said for key, said in self._catalogues.items() if key in self._connected}
        self._catalogues = {**kept, connection: catalogue}
        self._names = {key: frozenset(said.models) for key, said in self._catalogues.items()}

    def states(self) -> dict[str, ModelState]:
        """What operators say of their models."""
        return {name: state for said in self._catalogues.values() for name, state in said.states.items()}

    def announced(self) -> frozenset[str]:
        """Every name that somebody other than a client has said."""
        return self._fixed.union(*self._names.values()) | self._schedule.dedicated()

    def offered(self) -> frozenset[str]:
        """What clients are told of: those names, and the aliases of those that are known."""
        return self.announced().union(alias for alias, model in self._aliases.items() if self.known(model))

    def resolve(self, name: str) -> str:
        """The model that a client means: an alias stands for another name, also in front of an adapter's."""
        if name in self._aliases:
            return self._aliases[name]
        base, colon, adapter = name.rpartition(":")
        return f"{self._aliases[base]}:{adapter}" if colon and base in self._aliases else name

    def adapter(self, model: str) -> str:
        """The adapter that `model` names behind its last colon; empty if what is in front is no model by itself."""
        base, _, adapter = model.rpartition(":")
        return adapter if base and (self._named(base) or self._schedule.has_dedicated(base)) else ""

    def known(self, model: str) -> bool:
        """Whether requests for `model` are accepted."""
        return self._schedule.serves(model) or self._named(model)

    def label(self, model: str) -> str:
        """The value of the metrics' label `model`."""
        return model if self._schedule.has_dedicated(model) or self._named(model) else OTHER

    def _named(self, model: str) -> bool:
        return model in self._fixed or any(model in names for names in self._names.values())
