"""Why a key does not let a request in, in the shape of the OpenAI API's errors.

401 invalid_api_key         AuthenticationError     no key, an unknown one, or one that has ended
403 model_not_found         PermissionDeniedError   the key has no right to the model, whether there is one or not
403 priority_not_allowed    PermissionDeniedError   the priority asked for is not among those of the key
429 rate_limit_exceeded     RateLimitError          a limit of the key; `Retry-After` says when to come again
"""

import math
from collections.abc import Mapping

from headrace_queue.errors import ApiError
from headrace_queue.keys.digests import PREFIX
from headrace_queue.keys.meter import Kind, Refusal
from headrace_queue.keys.wishes import PRIORITY

_WORDS = {
    Kind.REQUESTS_PER_MINUTE: "requests per minute",
    Kind.TOKENS_PER_MINUTE: "tokens per minute",
    Kind.REQUESTS_PER_DAY: "requests per day",
    Kind.TOKENS_PER_DAY: "tokens per day",
    Kind.CONCURRENT_REQUESTS: "requests at a time",
}
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def no_key() -> ApiError:
    """The request has no key."""
    message = "You have given no API key. It goes into the header `Authorization: Bearer KEY`."
    return ApiError(401, "invalid_api_key", message, headers=_CHALLENGE)


def unknown_key(presented: str) -> ApiError:
    """The key is none of ours; of one in our form its id is told, and never its secret."""
    parts = presented.split("-")
    shown = f" {PREFIX}-{parts[1][:20]}-..." if len(parts) == 3 and parts[0] == PREFIX else ""
    return ApiError(401, "invalid_api_key", f"Incorrect API key provided{shown}.", headers=_CHALLENGE)


def ended_key(key: str, why: str) -> ApiError:
    """The key was good once."""
    return ApiError(401, "invalid_api_key", f"The API key {key} {why}.", headers=_CHALLENGE)


def model_denied(key: str, model: str) -> ApiError:
    """The key has no right to the model."""
    message = f"The API key {key} has no right to the model '{model}'."
    return ApiError(403, "model_not_found", message, param="model")


def priority_denied(key: str, wished: int, lowest: int, highest: int) -> ApiError:
    """The key has no right to the priority."""
    name = PRIORITY.decode()
    message = f"`{name}` is {wished}: the API key {key} may ask for {lowest} to {highest}."
    return ApiError(403, "priority_not_allowed", message, param=name)


def rate_limited(key: str, refusal: Refusal, now: float, headers: Mapping[str, str]) -> ApiError:
    """A limit of the key is reached."""
    gauge, seconds = refusal.gauge, max(refusal.retry_seconds, 0.05)
    need = f" Needed: about {refusal.need:.0f}." if gauge.tokens else ""
    message = (
        f"Rate limit reached for the API key {key} on {_WORDS[gauge.kind]}: limit {gauge.limit:.0f}, "
        f"used {gauge.limit - gauge.state(now)[0]:.0f}.{need} Try again in {seconds:.1f} s."
    )
    error = ApiError(429, "rate_limit_exceeded", message, headers=headers)
    error.retry_after = math.ceil(seconds)
    return error
