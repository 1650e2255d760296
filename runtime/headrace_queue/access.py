"""Who may ask for what: what the client API needs of keys, and the answer where there are none."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from headrace_api.wire import Usage
from headrace_queue.exchange import Call


class Admission(Protocol):
    """A call that was let in."""

    @property
    def call(self) -> Call:
        """The call with what its key decides: key, weight, priority, deadline."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer, which tell the client how much of its limits is left."""

    def leave(self) -> None:
        """Called at most once, before `settle`: nobody waits any more, and a worker may yet tell the usage."""

    def settle(self, usage: Usage | None, /, *, worked: bool) -> None:
        """Called exactly once, at the call's end; after `leave` once it is known what it has used, or never will be.

        `usage` is what was counted, without its prompt where only the client's part of an answer is known, or None;
        `worked` tells whether a worker has worked for it.
        """


class Access(Protocol):
    """Decides from memory, without waiting. `authorization` is the header of that name, empty where there is none."""

    def check(self, authorization: str, /) -> None:
        """See that there is such a key, before anything is done for whoever has sent it.

        Raises:
            ApiError: 401.
        """

    def admit(self, authorization: str, call: Call, /) -> Admission:
        """Let a call in.

        Raises:
            ApiError: 401, 403 or 429, with OpenAI's codes.
        """

    def visible(self, authorization: str, models: Iterable[str], /) -> list[str]:
        """Which of `models` the key may know of, in order.

        Raises:
            ApiError: 401.
        """


class Open:
    """Access where no key is configured: everybody may ask for everything."""

    def check(self, _authorization: str, /) -> None:
        """See `Access.check`."""

    def admit(self, _authorization: str, call: Call, /) -> Admission:
        """See `Access.admit`."""
        return _Admitted(call)

    def visible(self, _authorization: str, models: Iterable[str], /) -> list[str]:
        """See `Access.visible`."""
        return sorted(models)


class _Admitted:
    __slots__ = ("call", "headers")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.headers: Mapping[str, str] = {}

    def leave(self) -> None:
        """Nothing is counted."""

    def settle(self, usage: Usage | None, /, *, worked: bool) -> None:
        """Nothing is counted."""
