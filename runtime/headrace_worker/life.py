"""The states of a worker's life, and what each cause leads to. Pure: the effects are `headrace_worker.worker`'s."""

from enum import Enum, StrEnum


class State(StrEnum):
    """Where in its life the worker is; the words are those of `headrace_api.wire.WorkerState`."""

    FETCHING = "fetching"
    """Weights and the engine's environment are got; what to start is decided."""
    LOADING = "loading"
    """The engine's process runs and does not answer yet."""
    WARMING = "warming"
    """The engine answers and is asked for its first token."""
    READY = "ready"
    """The worker pulls whenever it is connected."""
    DRAINING = "draining"
    """Finishing, as it was asked to; no new requests."""
    STOPPED = "stopped"
    """Ended as asked."""
    FAILED = "failed"
    """Ended because it cannot go on."""


class Cause(Enum):
    """What moves a worker from one state to another."""

    FETCHED = "weights and environment are there, and what to start is decided"
    ANSWERED = "the engine answers its health check"
    WARMED = "the engine has given its first token"
    ASKED_TO_STOP = "SIGTERM or SIGINT"
    DRAINED = "nothing is under way any more, and the engine has been stopped"
    NOT_FETCHED = "weights or environment cannot be had"
    UNUSABLE = "the configuration asks for something that cannot be done"
    ENGINE_EXITED = "the engine ended by itself"
    ENGINE_HUNG = "the engine gives no sign of life, or no token"
    NOT_WARMED = "the engine does not give its first token"
    REFUSED = "the queue refuses the worker"
    BROKEN = "an error in the worker itself"


class End(Exception):  # noqa: N818 (an end need not be an error)
    """A worker's life ends; `message` is for people."""

    def __init__(self, cause: Cause, message: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message


_ALIVE = (State.FETCHING, State.LOADING, State.WARMING, State.READY)
_WITH_ENGINE = (State.LOADING, State.WARMING, State.READY)

_TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.FETCHING, Cause.FETCHED): State.LOADING,
    (State.LOADING, Cause.ANSWERED): State.WARMING,
    (State.WARMING, Cause.WARMED): State.READY,
    (State.FETCHING, Cause.NOT_FETCHED): State.FAILED,
    (State.FETCHING, Cause.UNUSABLE): State.FAILED,
    (State.WARMING, Cause.NOT_WARMED): State.FAILED,
    (State.DRAINING, Cause.DRAINED): State.STOPPED,
    (State.DRAINING, Cause.ENGINE_EXITED): State.FAILED,
    **{(state, Cause.ASKED_TO_STOP): State.DRAINING for state in _ALIVE},
    **{(state, Cause.REFUSED): State.FAILED for state in _ALIVE},
    **{(state, Cause.BROKEN): State.FAILED for state in _ALIVE},
    **{(state, Cause.ENGINE_EXITED): State.FAILED for state in _WITH_ENGINE},
    (State.READY, Cause.ENGINE_HUNG): State.FAILED,
}

ASKED = {
    State.FETCHING: "before its engine was started",
    State.LOADING: "before its engine answered",
    State.WARMING: "before its engine had given a token",
    State.READY: "while serving",
}
"""When a worker was asked to stop, in words that end a sentence."""

WHEN = {
    State.LOADING: "before it was ready",
    State.WARMING: "before it was ready",
    State.READY: "while serving",
    State.DRAINING: "while serving",
}
"""When an engine ended, likewise."""


def after(state: State, cause: Cause) -> State:
    """The state that follows.

    Raises:
        ValueError: nothing leads from the state by that cause.
    """
    try:
        return _TRANSITIONS[state, cause]
    except KeyError:
        raise ValueError(f"a worker that is {state} cannot go on because {cause.value}") from None


def causes(state: State) -> frozenset[Cause]:
    """What can end a state; nothing ends `STOPPED` and `FAILED`."""
    return frozenset(cause for begin, cause in _TRANSITIONS if begin is state)
