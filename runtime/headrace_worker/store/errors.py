"""What can go wrong while a model is fetched, in words that say what to do; `kind` decides whether it is tried again.

`StoreError` is what callers see. Inside, `AttemptError` is one attempt that did not work.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["passing", "forbidden", "missing", "changed", "away", "final"]
"""Passing: try again. Forbidden: try a few times, for keys that were just made are not known everywhere at once.
Changed: the object is another one than before. Away: it is not to be asked, or was asked often enough, and what was
fetched earlier will do. Missing and final: trying again would not help, and what was fetched earlier is not what is
asked for."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_REGION = re.compile(r"<Region>([-a-z0-9]+)</Region>")
_PASSING_STATUSES = frozenset({408, 425, 429})
"""Beside those of servers that cannot just now (5xx)."""
_NEVER = frozenset({501, 505})
"""Of those, what the server does not know at all."""
_NAMED: dict[str, Kind] = {
    "PreconditionError": "changed",
    "PermissionDeniedError": "forbidden",
    "UnauthenticatedError": "forbidden",
    "InvalidPathError": "final",
}
"""What the library says with the class of its error."""
_BARE_REDIRECT = "Received redirect without LOCATION"
"""All that the library tells of an answer 301, with which S3 says that a bucket is in another region."""
_OWN = "create_aws_credentials_url"
"""In the words of `credentials`, which has tried often enough itself."""
_LONGEST = 300


class StoreError(Exception):
    """A model cannot be had; the message names the source and what to do."""


@dataclass
class AttemptError(Exception):
    """One attempt that failed."""

    kind: Kind
    text: str
    region: str = ""
    """Where S3 says that the bucket is, when it was asked in another region."""
    elsewhere: bool = False
    """Whether it is in another region without its being said in which."""

    def __str__(self) -> str:
        return self.text


def failure(error: BaseException) -> AttemptError:
    """What an error of the object store's library means. Pure: the library tells statuses in its texts only."""
    if isinstance(error, AttemptError):
        return error
    text = str(error)
    if _BARE_REDIRECT in text:
        return AttemptError(
            "final",
            "301 PermanentRedirect: the bucket is in another region than the one it was asked in, and the server does "
            "not say in which: set --region in s3_sync_args, or AWS_REGION",
            elsewhere=True,
        )
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    return AttemptError(_kind(error, text, status), _short(text, status), _region(text))


def answered(status: int, reason: str, body: str) -> AttemptError:
    """What an answer means that is not the one that was wanted. Pure."""
    text = _short(body, status) if _CODE.search(body) else f"{status} {reason}"
    return AttemptError(of_status(status), text, _region(body))


def of_status(status: int) -> Kind:
    """What a status of HTTP means that is not 2xx. Pure."""
    if status == 412:
        return "changed"
    if status in {404, 410}:
        return "missing"
    if status in {401, 403}:
        return "forbidden"
    passing = status in _PASSING_STATUSES or (status >= 500 and status not in _NEVER)
    return "passing" if passing else "final"


def _region(text: str) -> str:
    return found[1] if (found := _REGION.search(text)) else ""


def _kind(error: BaseException, text: str, status: int) -> Kind:
    name = type(error).__name__
    if name in _NAMED:
        return _NAMED[name]
    if isinstance(error, (FileNotFoundError, TimeoutError)):
        return "missing" if isinstance(error, FileNotFoundError) else "passing"
    if _OWN in text:
        return "away"
    if status:
        return of_status(status)
    return "final" if isinstance(error, ValueError) else "passing"


def _short(text: str, status: int) -> str:
    """The server's own words where there are some, else the first line; the library adds pages of its internals."""
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        return f"{status} {code[1]}: {message[1] if message else ''}".rstrip(": ")
    first = text.split("\n", 1)[0].strip()
    first = first.rpartition("Error performing ")[2] or first
    return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}…"
