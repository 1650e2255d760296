"""What a worker may do at most, so that one that floods or lies is cut off before it harms others.

Pure: the clock is handed in.

The bounds are far from what any honest worker does; whoever breaks one is broken, or means ill.
"""

from dataclasses import dataclass, field

from headrace_api.wire import Usage

_HIDDEN_TOKENS = 200_000
"""Tokens that nobody sees in bytes: of images, of the template, of reasoning that is left out of the answer."""
_TOKENS_PER_SECOND = 10_000
"""Of one request, all its choices together."""
_GPU_SECONDS_SLACK = 1.0
_CRUMB_BYTES = 32
"""Less than an event of an answer has."""


class ConductError(Exception):
    """A worker does what no worker may; the message says what."""


def credible(usage: Usage, asked_bytes: int, answered_bytes: int) -> Usage:
    """What is held against a key: as its worker says, where that can be.

    Where it cannot, no more than a token for each byte that was asked and answered: what is hidden from the queue is
    believed only of those that are believed.
    """
    can_be = usage.cached_tokens <= usage.prompt_tokens <= asked_bytes + _HIDDEN_TOKENS
    if can_be and usage.completion_tokens <= answered_bytes:
        return usage
    prompt, completion = min(usage.prompt_tokens, asked_bytes), min(usage.completion_tokens, answered_bytes)
    return Usage(prompt, min(usage.cached_tokens, prompt), completion, prompt + completion)


@dataclass
class Budget:
    """So much at once, and so much more each second."""

    most: float
    per_second: float
    _left: float = field(init=False)
    _at: float | None = None

    def __post_init__(self) -> None:
        self._left = self.most

    def take(self, amount: float, now: float) -> bool:
        """Whether that much is left."""
        if self._at is not None:
            self._left = min(self.most, self._left + (now - self._at) * self.per_second)
        self._at = now
        self._left -= amount
        return self._left >= 0


class Given:
    """A job that a worker has."""

    __slots__ = ("answered_bytes", "asked_bytes", "since")

    def __init__(self, asked_bytes: int, since: float, answered_bytes: int = 0) -> None:
        self.asked_bytes = asked_bytes
        self.since = since
        self.answered_bytes = answered_bytes

    def doubt(self, usage: Usage | None, gpu_seconds: float, gpus: int, now: float) -> str:
        """What cannot be true of what a worker says it used, in words; empty where all may be."""
        seconds = now - self.since
        most_gpu = gpus * seconds + _GPU_SECONDS_SLACK
        if not 0 <= gpu_seconds <= most_gpu:
            return f"gpu_seconds: {gpu_seconds} of {gpus} GPUs in {seconds:.1f} s"
        if usage is None:
            return ""
        most_prompt = self.asked_bytes + _HIDDEN_TOKENS
        if usage.prompt_tokens > most_prompt:
            return f"prompt_tokens: {usage.prompt_tokens} in {self.asked_bytes} bytes"
        if usage.cached_tokens > usage.prompt_tokens:
            return f"cached_tokens: {usage.cached_tokens} of {usage.prompt_tokens} in the prompt"
        if usage.completion_tokens > self.answered_bytes + seconds * _TOKENS_PER_SECOND + _HIDDEN_TOKENS:
            return f"completion_tokens: {usage.completion_tokens} in {self.answered_bytes} bytes and {seconds:.1f} s"
        return ""


@dataclass
class Conduct:
    """One worker's."""

    gpus: int
    jobs: dict[int, Given] = field(default_factory=dict)
    _waste: Budget = field(default_factory=lambda: Budget(64 * 2**20, 16 * 2**20))
    """Bytes for jobs that it does not have."""
    _crumbs: Budget = field(default_factory=lambda: Budget(20_000, 10_000))
    """Pieces that hold next to nothing: each costs as much as one that does."""
    _reports: Budget = field(default_factory=lambda: Budget(200, 20))
    _others: Budget = field(default_factory=lambda: Budget(20_000, 10_000))
    """Messages that are no end of a job that it has: credits, and results of an earlier connection, told again."""

    def give(self, job: int, asked_bytes: int, now: float) -> None:
        """It gets a job."""
        self.jobs[job] = Given(asked_bytes, now)

    def piece(self, job: int, size: int, now: float) -> None:
        """It sends bytes.

        Raises:
            ConductError: too many for jobs that it does not have, or in pieces that are too small.
        """
        given = self.jobs.get(job)
        if given is not None:
            given.answered_bytes += size
            if size < _CRUMB_BYTES and not self._crumbs.take(1, now):
                raise ConductError(f"job {job}: too many pieces of less than {_CRUMB_BYTES} bytes")
        elif not self._waste.take(size + 64, now):
            raise ConductError(f"job {job}: too many bytes for jobs that this worker does not have")

    def reported(self, now: float) -> None:
        """It tells of itself; raises `ConductError` where it does so all the time."""
        if not self._reports.take(1, now):
            raise ConductError("too many reports of state or models")

    def said(self, now: float) -> None:
        """It says anything else; raises `ConductError` likewise."""
        if not self._others.take(1, now):
            raise ConductError("too many messages")

    def end(self, job: int, now: float) -> Given | None:
        """A job has ended; None where it had no such job. Raises `ConductError` where it says so all the time."""
        given = self.jobs.pop(job, None)
        if given is None:
            self.said(now)
        return given

    def doubt(self, job: int, usage: Usage | None, gpu_seconds: float, now: float) -> str:
        """The same, with what cannot be true of what is said of it, in words; empty where all may be."""
        given = self.end(job, now)
        return given.doubt(usage, gpu_seconds, self.gpus, now) if given else ""
