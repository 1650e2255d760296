"""The end of a stream that has as many tokens as it may have: asked for its rest, an engine would say one more."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from pydantic_core import to_json

from headrace_worker.engines.protocol import CHAT_PATH
from headrace_worker.transports.awaited import Said
from headrace_worker.transports.protocol import Answer


@contextlib.asynccontextmanager
async def answer(
    count: Callable[[], Awaitable[int]], said_tokens: int, path: str, _body: bytes
) -> AsyncIterator[Answer]:
    """See `Transport.ask`; `count` asks for the tokens of the prompt, which ends in those that have been said."""
    prompt_tokens = max(await count(), said_tokens)
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 0, "total_tokens": prompt_tokens}
    is_chat = path == CHAT_PATH
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    nothing: dict[str, object] = {"delta": {}} if is_chat else {"text": ""}
    finish = {"index": 0, **nothing, "finish_reason": "length"}
    events = ({"object": kind, "choices": [finish]}, {"object": kind, "choices": [], "usage": usage})
    yield Said(200, *(b"data: " + to_json(event) + b"\n\n" for event in events), b"data: [DONE]\n\n")
