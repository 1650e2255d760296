"""What a worker says that it used, held against what is possible: a worker may be wrong, or lie. Pure.

A token is at least one byte of what is sent: of the request's body (beside what the chat template adds, and what an
image becomes) or of the answer with its JSON around. So no honest count is ever touched.
"""

import math
from typing import NamedTuple

from headrace_api.wire import Usage

_TEMPLATE_TOKENS = 200_000
"""That a prompt may have beyond the bytes of its request: a system prompt of the worker's own, images."""
_LARGEST_TOKENS = 100_000_000
"""Where the size of the answer is not known."""
_MOST_GPUS = 1024
"""Of one worker."""


class Counts(NamedTuple):
    """Tokens and GPU time of one request."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    gpu_seconds: float = 0.0


def possible(
    usage: Usage | None, gpu_seconds: float, request_bytes: int, answer_bytes: int | None, seconds: float
) -> tuple[Counts, bool]:
    """The counts within what is possible, and whether that is what the worker said.

    Args:
        usage: as the worker told it.
        gpu_seconds: likewise.
        request_bytes: of the client's body.
        answer_bytes: of all that the worker sent; None where that is not known.
        seconds: for which the worker can have had the request.
    """
    usage = usage or Usage()
    prompt = _within(usage.prompt_tokens, request_bytes + _TEMPLATE_TOKENS)
    cached = _within(usage.cached_tokens, prompt)
    completion = _within(usage.completion_tokens, _LARGEST_TOKENS if answer_bytes is None else answer_bytes)
    most = max(0.0, seconds) * _MOST_GPUS
    gpu = min(max(gpu_seconds, 0.0), most) if math.isfinite(gpu_seconds) else 0.0
    counts = Counts(prompt, cached, completion, gpu)
    told = Counts(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, gpu_seconds)
    return counts, counts == told


def _within(value: int, most: int) -> int:
    return min(max(value, 0), most)
