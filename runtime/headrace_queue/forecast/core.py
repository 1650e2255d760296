"""When a request that waits will be begun."""

from collections import OrderedDict
from collections.abc import Iterable

from headrace_api.load import Starting
from headrace_queue.forecast.coldstart import ColdStarts
from headrace_queue.forecast.pace import Pace

_REMEMBERED = 4096


class Forecast:
    """What is known of all models' pace and cold starts; models by their names without adapters."""

    def __init__(self) -> None:
        self.cold = ColdStarts()
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def handed_out(self, model: str, now: float) -> None:
        """A worker got a request."""
        pace = self._paces.get(model)
        if pace is None:
            pace = self._paces[model] = Pace(now)
            if len(self._paces) > _REMEMBERED:
                self._paces.popitem(last=False)
        pace.happened(now)

    def tell(self, worker: int, models: Iterable[str] | None, starting: Starting | None, now: float) -> None:
        """How far a worker is, None for ready; of a generalist (`models` is None) nothing can be learned."""
        if models is None:
            return
        model = min(models, key=lambda name: (len(name), name))  # its adapters' names are longer
        if starting is None:
            self.cold.ready(worker, model, now)
        else:
            self.cold.tell(worker, model, starting, now)

    def eta(self, model: str, ahead: int, now: float, *, ready: bool) -> float | None:
        """Seconds until the request that `ahead` others are before is begun; None where nothing is known.

        `ready` is whether a worker takes requests for the model; where none does, it is the time until one will.
        """
        if not ready:
            return self.cold.eta(model, now)
        pace = self._paces.get(model)
        rate = pace.per_second(now) if pace else 0.0
        return (ahead + 1) / rate if rate else None
