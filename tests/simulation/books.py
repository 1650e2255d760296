"""What clients and the ledger have seen of each request, and what must be true of it."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.engine import WRONG_USAGES, usage_of, words_of
from tests.simulation.http_client import Answer
from tests.simulation.plan import ClientPlan


@dataclass
class Entry:
    client: ClientPlan
    endings: list[str] = field(default_factory=list)
    got: int = 0
    """Words of its answer."""
    retry_after: int = 0


class Book:
    """All requests of a run."""

    def __init__(self, clients: tuple[ClientPlan, ...]) -> None:
        self.entries = {client.request_id: Entry(client) for client in clients}
        self.by_liars: set[str] = set()
        """Requests that a worker that is none of ours has had."""

    def add(self, client: ClientPlan) -> None:
        self.entries[client.request_id] = Entry(client)

    def left(self, request_id: str) -> None:
        self._end(request_id, "left")

    def broken(self, request_id: str) -> None:
        self._end(request_id, "broken")

    def refused(self, request_id: str) -> None:
        """Nobody listened."""
        self._end(request_id, "refused")

    def ended(self, request_id: str, answer: Answer) -> None:
        entry, status, body = self.entries[request_id], answer.status, answer.body
        entry.retry_after = answer.retry_after
        if request_id in self.by_liars:
            self._end(request_id, "told by a liar")
            return
        said = _said(entry.client, status, body)
        (_check_stream if entry.client.stream else _check_whole)(entry.client, said)
        code = said.error.get("code") if isinstance(said.error, dict) else said.error
        entry.got = len(said.text.split())
        self._end(request_id, "done" if said.complete else f"{status} {code}")

    def _end(self, request_id: str, how: str) -> None:
        entry = self.entries[request_id]
        entry.endings.append(how)
        assert len(entry.endings) == 1, f"{request_id} ended more than once: {entry.endings}"


@dataclass
class _Said:
    """What a client has been told."""

    status: int
    events: list[dict[str, Any]]
    complete: bool
    error: Any = None

    @property
    def text(self) -> str:
        choices = [choice for event in self.events for choice in event["choices"]]
        return "".join(choice["delta" if "delta" in choice else "message"].get("content", "") for choice in choices)


def _said(client: ClientPlan, status: int, body: bytes) -> _Said:
    if not client.stream or status != 200:
        answer = json.loads(body)
        if status == 200:
            return _Said(status, [answer], complete=True)
        return _Said(status, [], complete=False, error=answer["error"])
    events = body.split(b"\n\n")
    assert events.pop() == b"", f"{client.request_id}: an event is cut off"
    lines = [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]
    complete = b"[DONE]" in lines
    try:
        chunks = [json.loads(line) for line in lines if line != b"[DONE]"]
    except ValueError:
        chunks = [{"error": "no JSON"}]
    error = chunks.pop()["error"] if chunks and "error" in chunks[-1] else None
    assert lines.index(b"[DONE]") == len(lines) - 1 if complete else error, f"{client.request_id}: {body!r}"
    return _Said(status, chunks, complete, error)


def _check_whole(client: ClientPlan, said: _Said) -> None:
    if said.complete:
        assert said.text == "".join(words_of(client.request_id, client.words)), f"{client.request_id} got {said}"


def _check_stream(client: ClientPlan, said: _Said) -> None:
    whole = "".join(words_of(client.request_id, client.words))
    if said.complete:
        assert said.text == whole, f"{client.request_id} got {said.text!r}"
        _check_ends(client, said.events)
    else:
        assert whole.startswith(said.text), f"{client.request_id} got {said.text!r}"


def _check_ends(client: ClientPlan, chunks: list[dict[str, Any]]) -> None:
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert finishes == ["stop"], f"{client.request_id}: {finishes}"
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert usages in ([usage_of(client.words)] if client.include_usage else [], *_WRONG), (
        f"{client.request_id}: {usages}"
    )


_WRONG = [[usage] for usage in WRONG_USAGES.values()]
