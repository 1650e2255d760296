"""Who may ask for what: what the client API needs of keys, and the answer where there are none."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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

    def settle(self, usage: Usage | None, /) -> None:
        """Called exactly once, at the call's end; `usage` is None where no worker has told it."""


@dataclass(frozen=True)
class Viewer:
    """Who looks at the console."""

    key: str
    """The id of the key; empty where there are no keys."""
    may_use: Callable[[str], bool]
    """Whether she may use a model: she sees no other."""
    sees_all_keys: bool
    """Whether she sees the requests and the usage of all keys, or of her own only."""


class Access(Protocol):
    """Decides from memory, without waiting. `authorization` is the header of that name, empty where there is none."""

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

    def viewer(self, authorization: str, /) -> Viewer:
        """What the key may see of the queue.

        Raises:
            ApiError: 401.
        """


class Open:
    """Access where no key is configured: everybody may ask for everything."""

    def admit(self, _authorization: str, call: Call, /) -> Admission:
        """See `Access.admit`."""
        return _Admitted(call)

    def visible(self, _authorization: str, models: Iterable[str], /) -> list[str]:
        """See `Access.visible`."""
        return sorted(models)

    def viewer(self, _authorization: str, /) -> Viewer:
        """See `Access.viewer`."""
        return Viewer("", lambda _: True, sees_all_keys=True)


class _Admitted:
    __slots__ = ("call", "headers")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.headers: Mapping[str, str] = {}

    def settle(self, usage: Usage | None, /) -> None:
        """Nothing is counted."""
