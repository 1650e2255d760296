"""`generation.generate_kwargs`: parameters of a request, where the request itself does not say otherwise."""

from collections.abc import Mapping
from typing import Any

from headrace_api.refusals import OF_THE_REQUEST
from headrace_worker.engines.protocol import EngineConfigError

_RENAMED = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens", "num_return_sequences": "n"}
"""Names of the transformers library, which people have in their files, and the API's."""
LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of the same: how many tokens an answer has at most."""


def check(kwargs: Mapping[str, Any]) -> None:
    """Check that every name may be set for requests.

    Raises:
        EngineConfigError: one may not.
    """
    for name in kwargs:
        if name in OF_THE_REQUEST:
            raise EngineConfigError(
                f"generator.generation.generate_kwargs.{name}: not accepted, because every request has its own; "
                "leave it out"
            )


def merged(kwargs: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The request, with `kwargs` for what it leaves out or has as null; it may name a limit by either of two names."""
    if not kwargs:
        return dict(request)
    given = {name for name, value in request.items() if value is not None}
    if given.intersection(LIMITS):
        given.update(LIMITS)
    return {**request, **{name: value for name, value in _in_the_api(kwargs).items() if name not in given}}


def _in_the_api(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the names of OpenAI's API and its engines; where both names are given, theirs counts."""
    renamed = {_RENAMED[name]: value for name, value in kwargs.items() if name in _RENAMED}
    if kwargs.get("do_sample") is False:
        renamed["temperature"] = 0
    return renamed | {name: value for name, value in kwargs.items() if name not in {*_RENAMED, "do_sample"}}
