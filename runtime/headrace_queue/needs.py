"""What a request may ask of the worker that answers it: tags and a hosting, as workers register with them."""

from collections.abc import Iterable

from headrace_queue.errors import bad_header

TAGS = "x-headrace-tags"
HOSTING = "x-headrace-hosting"
CONTINUES = "continues"
"""What the rest of an answer needs that another worker has begun; tags and hostings are named otherwise."""
_CLOUD = "cloud"
"""The hosting that every worker supports, so that it is never listed and never looked for."""
MOST_TAGS = 4
MOST_CHARACTERS = 64
_BLANKS = " \t"
"""What may stand around a name, as HTTP has it: Python would strip more."""


def read_needs(tags: str, hosting: str) -> frozenset[str]:
    """What the headers `x-headrace-tags` (separated by commas) and `x-headrace-hosting` ask for.

    Raises:
        ApiError: status 400; there are too many, or one is too long.
    """
    if not tags and not hosting:
        return frozenset()
    wanted = [name for tag in tags.split(",") if (name := tag.strip(_BLANKS))]
    if len(wanted) > MOST_TAGS:
        raise bad_header(TAGS, tags, f"{MOST_TAGS} tags at most, separated by commas")
    _check(TAGS, wanted)
    hostings = {hosting.strip(_BLANKS)} - {"", _CLOUD}
    _check(HOSTING, hostings)
    return offers(wanted, hostings)


def offers(tags: Iterable[str], hostings: Iterable[str]) -> frozenset[str]:
    """What a worker with these tags and hostings has to offer."""
    return frozenset({f"tag {tag}" for tag in tags} | {f"hosting {hosting}" for hosting in hostings})


def _check(header: str, names: Iterable[str]) -> None:
    for name in names:
        if len(name) > MOST_CHARACTERS:
            raise bad_header(header, name, f"names of {MOST_CHARACTERS} characters at most")
