"""Learns an engine's capacity while it serves, and remembers it from one life of a worker to the next."""

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from headrace_worker.capacity import Capacity, Window, after
from headrace_worker.status import Status, Traffic

TICK_S = 0.5
_SETTLE_TICKS = 2
"""After a change, requests come and are read in before the window begins."""
_WINDOW_TICKS = 4
_MANY = 100
_KEPT = 100
"""Fingerprints that are remembered."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Memory:
    """A file with the limit of each fingerprint; a file that cannot be used is as good as none."""

    path: Path | None
    fingerprint: str

    def recall(self) -> int | None:
        """The limit that was learned in an earlier life."""
        limit = self._read().get(self.fingerprint)
        return limit if isinstance(limit, int) and limit > 0 else None

    def keep(self, limit: int) -> None:
        """Remember a limit; the file is replaced as a whole, so that it is never half-written."""
        if self.path is None:
            return
        others = {name: value for name, value in self._read().items() if name != self.fingerprint}
        newest = dict([*others.items(), (self.fingerprint, limit)][-_KEPT:])
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(newest), encoding="utf-8")
            beside.replace(self.path)

    def _read(self) -> dict[str, object]:
        if self.path is None:
            return {}
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
        return {}


async def learn(status: Status, capacity: Capacity, memory: Memory) -> None:
    """Learn until cancelled; each change takes effect by credits that are granted or withheld."""
    while True:
        known = after(capacity, await _window(status))
        if known.limit != capacity.limit:
            log.info("requests at a time", limit=known.limit, before=capacity.limit)
            status.set_slots(known.limit)
        if capacity.tried and not known.tried:
            memory.keep(known.limit)
        capacity = known


async def _window(status: Status) -> Window:
    await _ticks(status, _SETTLE_TICKS)
    began, at = replace(status.traffic), time.monotonic()
    full, streams = await _ticks(status, _WINDOW_TICKS)
    return seen(began, status.traffic, time.monotonic() - at, full=full, streams=streams)


async def _ticks(status: Status, number: int) -> tuple[bool, bool]:
    """Wait; whether, at every moment that was looked at, the engine was full and answered mostly in streams."""
    full = streams = True
    for _ in range(number):
        await asyncio.sleep(TICK_S)
        full &= status.offer is not None and is_full(status.under_way, status.offer.slots)
        streams &= 2 * status.streams >= status.under_way
    return full, streams


def is_full(under_way: int, slots: int) -> bool:
    """Whether hardly a slot is free: between a request's end and the next one's coming is a moment. Pure.

    After a lowering, more than the slots are under way until enough have ended.
    """
    return slots - slots // 8 <= under_way <= slots


def seen(before: Traffic, now: Traffic, seconds: float, *, full: bool, streams: bool) -> Window:
    """A window from what was counted at its two ends. Pure.

    Answers in one piece come in lumps: they measure the throughput only where many of them came.
    """
    tokens = now.stream_tokens - before.stream_tokens
    inter_token_s = (now.stream_s - before.stream_s) / tokens if tokens else None
    smooth = streams or now.ended - before.ended >= _MANY
    return Window((now.sent_bytes - before.sent_bytes) / seconds, inter_token_s, full and smooth)
