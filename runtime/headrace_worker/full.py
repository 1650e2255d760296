"""The end of a stream that has as many tokens as it may have: asked for its rest, an engine would say one more."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from pydantic_core import to_json

from headrace_worker.engines.protocol import CHAT_PATH
from headrace_worker.transports.protocol import Answer

_DONE = b"data: [DONE]\n\n"


class _End:
    """See `Answer`."""

    status = 200

    def __init__(self, kind: str, choice: dict[str, object], prompt_tokens: int) -> None:
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 0, "total_tokens": prompt_tokens}
        finish = {"object": kind, "choices": [{"index": 0, **choice, "finish_reason": "length"}]}
        self._events = [finish, {"object": kind, "choices": [], "usage": usage}]

    async def received(self) -> AsyncIterator[bytes]:
        for event in self._events:
            yield b"data: " + to_json(event) + b"\n\n"
        yield _DONE


@contextlib.asynccontextmanager
async def answer(
    count: Callable[[], Awaitable[int]], said_tokens: int, path: str, _body: bytes
) -> AsyncIterator[Answer]:
    """See `Transport.ask`; `count` asks for the tokens of the prompt, which ends in those that have been said."""
    prompt_tokens = max(await count(), said_tokens)
    if path == CHAT_PATH:
        yield _End("chat.completion.chunk", {"delta": {}}, prompt_tokens)
    else:
        yield _End("text_completion", {"text": ""}, prompt_tokens)
