"""What clients and the ledger have seen of each request, and what must be true of it."""

import json
from dataclasses import dataclass, field
from typing import Any

from headrace_api.wire import Usage
from headrace_queue.exchange import End
from tests.simulation.engine import WRONG_USAGES, usage_of, words_of
from tests.simulation.plan import ClientPlan


@dataclass
class Entry:
    client: ClientPlan
    accepted: int = 0
    endings: list[str] = field(default_factory=list)
    counted: list[Usage | None] = field(default_factory=list)
    """Once for each process of the queue that has counted it."""


class Book:
    """All requests of a run."""

    def __init__(self, clients: tuple[ClientPlan, ...]) -> None:
        self.entries = {client.request_id: Entry(client) for client in clients}
        self.by_liars: set[str] = set()
        """Requests that a worker that is none of ours has had."""

    def add(self, client: ClientPlan) -> None:
        self.entries[client.request_id] = Entry(client)

    def accepted(self, request_id: str) -> None:
        self.entries[request_id].accepted += 1

    def left(self, request_id: str) -> None:
        self._end(request_id, "left")

    def broken(self, request_id: str) -> None:
        self._end(request_id, "broken")

    def refused(self, request_id: str) -> None:
        """Nobody listened."""
        self._end(request_id, "refused")

    def ended(self, request_id: str, end: End, data: bytes, *, accepted: bool = True) -> None:
        entry = self.entries[request_id]
        if request_id not in self.by_liars:
            check = _check_stream if entry.client.stream else _check_whole
            check(entry.client, end, data)
        error = (end.body or {}).get("error")
        code = error.get("code") if isinstance(error, dict) else error
        self._end(request_id, "done" if end.status == 200 else f"{end.status} {code}")
        assert accepted or end.status in {429, 503}, f"{request_id} was refused with {end}"

    def counted(self, request_id: str, usage: Usage | None, *, anew: bool) -> None:
        if anew and request_id in self.entries:
            self.entries[request_id].counted.append(usage)

    def _end(self, request_id: str, how: str) -> None:
        entry = self.entries[request_id]
        entry.endings.append(how)
        assert len(entry.endings) == 1, f"{request_id} ended more than once: {entry.endings}"


def _check_whole(client: ClientPlan, end: End, data: bytes) -> None:
    if end.status == 200:
        answer = json.loads(data)
        text = answer["choices"][0]["message"]["content"]
        assert text == "".join(words_of(client.request_id, client.words)), f"{client.request_id} got {text!r}"
    else:
        assert not data, f"{client.request_id} got {data!r} and then {end}"
        assert end.body, f"{client.request_id} got {end.status} and no reason"


def _check_stream(client: ClientPlan, end: End, data: bytes) -> None:
    if end.status != 200 and not data:
        return
    events = data.split(b"\n\n")
    assert events.pop() == b"", f"{client.request_id}: an event is cut off"
    done = bool(events) and events[-1] == b"data: [DONE]"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in (events[:-1] if done else events)]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    whole = "".join(words_of(client.request_id, client.words))
    if end.status == 200:
        assert done, f"{client.request_id}: no [DONE] at the end"
        assert text == whole, f"{client.request_id} got {text!r}"
        _check_ends(client, chunks)
    else:
        assert whole.startswith(text), f"{client.request_id} got {text!r}"


def _check_ends(client: ClientPlan, chunks: list[dict[str, Any]]) -> None:
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert finishes == ["stop"], f"{client.request_id}: {finishes}"
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert usages in ([usage_of(client.words)] if client.include_usage else [], *_WRONG), (
        f"{client.request_id}: {usages}"
    )


_WRONG = [[usage] for usage in WRONG_USAGES.values()]
