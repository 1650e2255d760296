"""What workers were acknowledged for telling, and what the ledger must have of it."""

from collections import defaultdict
from typing import Any

from headrace_queue.ledger.entry import CONTINUED, ESTIMATED, UNCOUNTED, Entry
from tests.simulation.network import Connection

_SLACK_S = 1e-6

_Message = dict[str, Any]


class Words:
    """Of all requests of a run, as their frames say it."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Connection, _Message]] = {}
        """The last job of each request."""
        self._jobs: dict[Connection, dict[int, str]] = defaultdict(dict)
        """Requests by the numbers that they have on a connection, but for those that were cancelled."""
        self._told: dict[Connection, list[_Message]] = defaultdict(list)
        self._exact: dict[str, _Message] = {}
        """The engine's own count of a request's last job."""
        self._gpu_seconds: dict[str, float] = defaultdict(float)
        """Told on the connections on which the jobs came."""

    def note(self, connection: Connection, what: str, message: _Message) -> None:
        """A message has passed by."""
        match what, message.get("type"):
            case "queue sends", "job":
                self._last[message["request_id"]] = connection, message
                self._jobs[connection][message["job"]] = message["request_id"]
            case "queue sends", "cancel":
                self._cancel(connection, message["job"])
            case "queue gets", "result":
                self._told[connection].append(message)
            case "queue sends", "ack":
                self._acknowledge(connection, message["request_id"])

    def check(self, request_id: str, row: Entry | None) -> None:
        """The row of a request must have what was acknowledged."""
        seconds, exact = self._gpu_seconds.get(request_id, 0.0), self._exact.get(request_id)
        assert row is not None or exact is None, f"{request_id} was counted, and has no row"
        if row is None:
            return
        assert row.gpu_seconds >= seconds - _SLACK_S, f"{request_id} took {seconds} GPU-seconds: {row}"
        if exact is not None and not row.doubts(CONTINUED):
            usage = exact["usage"]
            counted = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
            assert (row.prompt_tokens, row.completion_tokens) == counted, f"{request_id} used {usage}: {row}"
            assert not {ESTIMATED, UNCOUNTED} & {*row.doubt.split()}, f"{request_id} was counted: {row}"

    def _cancel(self, connection: Connection, job: int) -> None:
        """A job that is none of its request's any more counts for nothing; the last one may still."""
        request_id = self._jobs[connection].get(job, "")
        if self._last.get(request_id, (None, {"job": job}))[1]["job"] != job:
            del self._jobs[connection][job]

    def _acknowledge(self, connection: Connection, request_id: str) -> None:
        told = [each for each in self._told[connection] if each["request_id"] == request_id]
        self._told[connection] = [each for each in self._told[connection] if each["request_id"] != request_id]
        if request_id not in self._last:
            return  # a liar has made it up
        _, last = self._last[request_id]
        for result in told:
            if self._jobs[connection].pop(result["job"], None) == request_id:
                self._gpu_seconds[request_id] += result.get("gpu_seconds", 0.0)
            is_last = result["job"] == last["job"] and result.get("receipt") == last["receipt"]
            if is_last and not last.get("continues") and result.get("status", 200) == 200 and result.get("usage"):
                self._exact[request_id] = result
