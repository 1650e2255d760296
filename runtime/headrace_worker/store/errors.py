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
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
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
    region = found[1] if (found := _REGION.search(text)) else ""
    return AttemptError(_kind(error, text, status), _short(text, status), region)


def _kind(error: BaseException, text: str, status: int) -> Kind:
    name = type(error).__name__
    if name == "PreconditionError" or status == 412:
        return "changed"
    if isinstance(error, FileNotFoundError) or status == 404:
        return "missing"
    if name in {"PermissionDeniedError", "UnauthenticatedError"} or status in {401, 403}:
        return "forbidden"
    if status in _PASSING_STATUSES or isinstance(error, TimeoutError):
        return "passing"
    if _OWN in text:
        return "away"
    return "final" if status or isinstance(error, ValueError) or name == "InvalidPathError" else "passing"


def _short(text: str, status: int) -> str:
    """The server's own words where there are some, else the first line; the library adds pages of its internals."""
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        return f"{status} {code[1]}: {message[1] if message else ''}".rstrip(": ")
    first = text.split("\n", 1)[0].strip()
    first = first.rpartition("Error performing ")[2] or first
    return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}…"
