"""An engine's first token.

What loads lazily is loaded then, and an engine that cannot answer is found out before work comes.
"""

import aiohttp

from headrace_worker.engines.protocol import Call

_PATIENCE_S = 600.0
"""Kernels that are compiled for the first request may take minutes."""
_MOST_CHARACTERS = 500


class WarmUpError(RuntimeError):
    """The engine did not give its first token; the message has the engine's words."""


async def first_token(http: aiohttp.ClientSession, base_url: str, call: Call, served_name: str) -> None:
    """Have the engine answer `call` (see `EngineApi.warm`) once.

    Raises:
        WarmUpError: it answers with an error, breaks off, or takes too long.
    """
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        body = {"model": served_name, **call.body}
        async with http.request(call.method, base_url + call.path, json=body, timeout=timeout) as response:
            text = await response.text(errors="replace")
    except TimeoutError as error:
        raise WarmUpError(f"the engine has not answered its first request for {_PATIENCE_S:.0f} s") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise WarmUpError(f"the engine broke its first request off: {type(error).__name__}: {error}") from error
    if response.status != 200:
        raise WarmUpError(f"the engine answered its first request with {response.status}: {text[:_MOST_CHARACTERS]}")
