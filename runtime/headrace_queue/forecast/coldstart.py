"""How long a model takes from nothing to ready, phase by phase, as it took before.

The phases are those that a worker reports (`wire.WorkerState`), and before them the time from the first request that
was held while there was no worker to the first worker that registered: what the cluster takes to find a node, fetch the
image and start the pod. Each is learned by itself, so that a worker which is loading already is not given the time of
fetching again.
"""

from collections import OrderedDict
from dataclasses import dataclass

from headrace_api.load import Starting

_PENDING = "pending"
_ORDER: tuple[str, ...] = (_PENDING, "fetching", "loading", "warming")
_GAIN = 0.3
_REMEMBERED = 4096
_OVERDUE = 0.1
"""Of a phase that takes longer than it ever did, so much of its usual time is still to come."""
_PAUSE_SECONDS = 60.0
"""Clients that gave up and come back within this time have waited for the same cold start."""
_MIN_SEEN_SECONDS = 1.0
"""Progress of less time tells nothing of the rest."""


@dataclass(slots=True)
class _Hold:
    since: float
    left: float | None = None
    """When the last request that waited gave up; None while any waits."""


@dataclass(slots=True)
class _Start:
    model: str
    how_far: Starting
    since: float
    """When it came into this state."""


class ColdStarts:
    """What is starting now, and how long the phases took."""

    def __init__(self) -> None:
        self._usual: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._held: OrderedDict[str, _Hold] = OrderedDict()
        """Since when requests wait for a model that has no worker at all."""
        self._starts: dict[int, _Start] = {}

    def hold(self, model: str, now: float) -> None:
        """A request waits, and no worker is ready or going to be."""
        hold = self._held.get(model)
        if hold is None or (hold.left is not None and now - hold.left > _PAUSE_SECONDS):
            hold = self._held[model] = _Hold(now)
            if len(self._held) > _REMEMBERED:
                self._held.popitem(last=False)
        hold.left = None

    def release(self, model: str, now: float) -> None:
        """Nothing waits for the model any more."""
        if model in self._held:
            self._held[model].left = now

    def tell(self, worker: int, model: str, how_far: Starting, now: float) -> None:
        """How far a worker is that is not ready."""
        start = self._starts.get(worker)
        if start is None:
            self._end_hold(model, now)
            self._starts[worker] = _Start(model, how_far, now)
        elif start.how_far.state != how_far.state:
            if _comes_before(start.how_far.state, how_far.state):
                self._learn(model, start.how_far.state, now - start.since)
            start.how_far, start.since = how_far, now
        else:
            start.how_far = how_far

    def ready(self, worker: int, model: str, now: float) -> None:
        """It takes requests now."""
        start = self._starts.pop(worker, None)
        if start is None:
            self._end_hold(model, now)
        else:
            self._learn(start.model, start.how_far.state, now - start.since)

    def lose(self, worker: int) -> None:
        """It is gone, or drains."""
        self._starts.pop(worker, None)

    def eta(self, model: str, now: float) -> float | None:
        """Seconds until a worker will be ready; None where nothing is known."""
        rests = [
            rest for start in self._starts.values() if start.model == model and (rest := self._rest(start, now))
        ]  # fmt: skip
        if rests:
            return min(rests)
        usual = self._usual.get(model)
        if usual is None or any(start.model == model for start in self._starts.values()):
            return None
        elapsed = now - self._held[model].since if model in self._held else 0.0
        return _left(usual.get(_PENDING), elapsed) + _later(usual, _PENDING)

    def _rest(self, start: _Start, now: float) -> float | None:
        usual, state, elapsed = self._usual.get(start.model, {}), start.how_far.state, now - start.since
        if state not in _ORDER:
            return None
        done, total = start.how_far.done_bytes, start.how_far.total_bytes
        if done and total and elapsed >= _MIN_SEEN_SECONDS:
            rest = elapsed * max(0, total - done) / done
        elif state in usual:
            rest = _left(usual[state], elapsed)
        else:
            return None
        return rest + _later(usual, state)

    def _end_hold(self, model: str, now: float) -> None:
        hold = self._held.pop(model, None)
        if hold is not None and (hold.left is None or now - hold.left <= _PAUSE_SECONDS):
            self._learn(model, _PENDING, now - hold.since)

    def _learn(self, model: str, phase: str, seconds: float) -> None:
        if phase not in _ORDER:
            return
        usual = self._usual.setdefault(model, {})
        before = usual.get(phase, seconds)
        usual[phase] = before + _GAIN * (seconds - before)
        self._usual.move_to_end(model)
        if len(self._usual) > _REMEMBERED:
            self._usual.popitem(last=False)


def _comes_before(phase: str, other: str) -> bool:
    return phase in _ORDER and other in _ORDER and _ORDER.index(phase) < _ORDER.index(other)


def _left(usual: float | None, elapsed: float) -> float:
    return max(usual - elapsed, _OVERDUE * usual) if usual is not None else 0.0


def _later(usual: dict[str, float], phase: str) -> float:
    return sum(usual.get(each, 0.0) for each in _ORDER[_ORDER.index(phase) + 1 :])
