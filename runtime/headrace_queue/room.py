"""How much waits, and whether there is room for more: bounds in count and bytes, for all, by model and by key."""

from collections import Counter

from headrace_queue.exchange import Call
from headrace_queue.limits import Limits


class Room:
    """What waits, counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.bytes = 0
        """Of all that waits."""
        self._count = 0
        self._models: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._key_bytes: Counter[str] = Counter()

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
        if self._models[call.model] >= limits.max_waiting_per_model:
            return f"{self._models[call.model]} requests wait for this model"
        if key and self._keys[key] >= limits.max_waiting_per_key:
            return f"{self._keys[key]} requests of this key wait"
        if key and self._key_bytes[key] + size > limits.max_waiting_bytes_per_key:
            return f"{self._key_bytes[key]} bytes of this key's requests wait"
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
            counter[name] += change
            if not counter[name]:
                del counter[name]
