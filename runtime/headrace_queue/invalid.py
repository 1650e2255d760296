"""Says in words what pydantic found wrong, for peers: field, problem, and never the value of a secret."""

from pydantic import ValidationError


def in_words(error: ValidationError) -> str:
    """The first problems of `error`, each with its field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'message'}: {each['msg']}" for each in found[:3])
