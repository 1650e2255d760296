"""How much waits, and whether there is room for more: bounds in count and bytes, for all, by model and by key."""

from headrace_queue.exchange import Call
from headrace_queue.limits import Limits


class Room:
    """What waits, counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.bytes = 0
        """Of all that waits."""
        self._count = 0
        self._models: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._key_bytes: dict[str, int] = {}

    def add(self, call: Call) -> None:
        """It waits."""
        self._change(call, 1)

    def remove(self, call: Call) -> None:
        """It waits no longer."""
        self._change(call, -1)

    def full(self, call: Call) -> str | None:
        """Which bound a further request would exceed, in words; None if it may wait.

        Where there are no keys, all requests are nobody's, and the bounds of one key hold for none.
        """
        limits, key, size = self._limits, call.key, len(call.raw)
        if self._count >= limits.max_waiting:
            return f"{self._count} requests wait"
        if self.bytes + size > limits.max_waiting_bytes:
            return f"{self.bytes} bytes of requests wait"
        if (count := self._models.get(call.model, 0)) >= limits.max_waiting_per_model:
            return f"{count} requests wait for this model"
        if key and (count := self._keys.get(key, 0)) >= limits.max_waiting_per_key:
            return f"{count} requests of this key wait"
        if key and (count := self._key_bytes.get(key, 0)) + size > limits.max_waiting_bytes_per_key:
            return f"{count} bytes of this key's requests wait"
        return None

    def _change(self, call: Call, sign: int) -> None:
        size = sign * len(call.raw)
        self._count += sign
        self.bytes += size
        for counter, name, change in (
            (self._models, call.model, sign),
            (self._keys, call.key, sign),
            (self._key_bytes, call.key, size),
        ):
            counter[name] = after = counter.get(name, 0) + change
            if not after:
                del counter[name]
