"""An engine's first token.

What loads lazily is loaded then, and an engine that cannot answer is found out before work comes.
"""

from collections.abc import Collection, Mapping
from typing import Any

import aiohttp

_PATIENCE_S = 600.0
"""Kernels that are compiled for the first request may take minutes."""
_MOST_CHARACTERS = 500
_PROMPT = "Hello"

_BODIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/completions": {"prompt": _PROMPT, "max_tokens": 1, "temperature": 0},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 1, "temperature": 0},
    "/v1/embeddings": {"input": _PROMPT},
}
"""For each path the smallest request that has the model do something, the most preferred first."""


class WarmUpError(RuntimeError):
    """The engine did not give its first token; the message has the engine's words."""


def request(paths: Collection[str], served_name: str) -> tuple[str, dict[str, Any]] | None:
    """The first request for an engine that serves `paths`: path and body; None where none of them is known. Pure."""
    for path, body in _BODIES.items():
        if path in paths:
            return path, {"model": served_name, **body}
    return None


async def first_token(http: aiohttp.ClientSession, base_url: str, paths: Collection[str], served_name: str) -> None:
    """Have the engine answer once.

    Raises:
        WarmUpError: it answers with an error, breaks off, or takes too long.
    """
    asked = request(paths, served_name)
    if asked is None:
        return
    path, body = asked
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with http.post(base_url + path, json=body, timeout=timeout) as response:
            text = await response.text(errors="replace")
    except TimeoutError as error:
        raise WarmUpError(f"the engine has not answered its first request for {_PATIENCE_S:.0f} s") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise WarmUpError(f"the engine broke its first request off: {type(error).__name__}: {error}") from error
    if response.status != 200:
        raise WarmUpError(f"the engine answered its first request with {response.status}: {text[:_MOST_CHARACTERS]}")
