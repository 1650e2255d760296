"""How the place of weights is written: one definition for the rules and for the worker's store."""

import re

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
REVISION = re.compile(rf"{_PART}(?:/{_PART})*")
"""A branch, a tag or a commit of the hub; none leads out of a folder of this name."""
REPOSITORY = re.compile(rf"(?P<repository>{_PART}(?:/{_PART})?)(?:@(?P<revision>{REVISION.pattern}))?")
"""`organisation/name` of the Hugging Face Hub, or an old `name`, at a revision perhaps."""
BUCKET = re.compile(
    r"(?P<scheme>s3|gs)://(?P<anonymous>anonymous@)?(?P<bucket>[^/@\s]+)(?:/(?P<prefix>.*))?", re.DOTALL
)
"""A folder in a bucket; `anonymous@` means without keys."""


def is_source(text: str) -> bool:
    """Whether weights can be there, for workers in a cluster: an absolute path, `organisation/name`, S3 or GCS."""
    if (text.startswith("/") and text != "/") or BUCKET.fullmatch(text):
        return True
    return "/" in text.partition("@")[0] and REPOSITORY.fullmatch(text) is not None
