"""Who may ask for what: what the client API needs of keys, and the answer where there are none."""

from collections.abc import Iterable
from typing import Protocol

from headrace_api.wire import Usage
from headrace_queue.exchange import Call


class Admission(Protocol):
    """A call that was let in."""

    @property
    def call(self) -> Call:
        """The call with what its key decides: key, weight, priority, deadline."""

    @property
    def fields(self) -> bytes:
        """Header fields of the answer, as `Reply.send` takes them, which tell how much is left of the key's limits."""

    def leave(self) -> None:
        """Called at most once, before `settle`: nobody waits any more, and a worker may yet tell the usage."""

    def settle(self, usage: Usage | None, /, *, worked: bool) -> None:
        """Called exactly once, at the call's end; after `leave` once it is known what it has used, or never will be.

        `usage` is what was counted, without its prompt where only the client's part of an answer is known, or None;
        `worked` tells whether a worker has worked for it.
        """


class Caller(Protocol):
    """Whoever has sent a request, as far as it has said who it is."""

    def admit(self, call: Call, /) -> Admission:
        """Let a call in.

        Raises:
            ApiError: 403 or 429, with OpenAI's codes.
        """

    def visible(self, models: Iterable[str], /) -> list[str]:
        """Which of `models` it may know of, in order."""


class Access(Protocol):
    """Decides from memory, without waiting."""

    def caller(self, authorization: str, /) -> Caller:
        """Whose key is in the header of that name, which is empty where there is none.

        Raises:
            ApiError: 401.
        """


class Open:
    """Access where no key is configured, and everybody's: all may ask for everything."""

    def caller(self, _authorization: str, /) -> "Open":
        """See `Access.caller`."""
        return self

    def admit(self, call: Call, /) -> Admission:
        """See `Caller.admit`."""
        return _Admitted(call)

    def visible(self, models: Iterable[str], /) -> list[str]:
        """See `Caller.visible`."""
        return sorted(models)


class _Admitted:
    __slots__ = ("call", "fields")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.fields = b""

    def leave(self) -> None:
        """Nothing is counted."""

    def settle(self, usage: Usage | None, /, *, worked: bool) -> None:
        """Nothing is counted."""
