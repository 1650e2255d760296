"""Tells those that want to know when something has changed, without waiting for any of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watchers:
    """The events of those who watch."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change; whoever waits for it clears it."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    def notify(self) -> None:
        """Something has changed."""
        for event in self._events:
            event.set()
