"""The address of a folder in a bucket: `s3://bucket/folder/` or `gs://bucket/folder/`. Pure."""

import re
from dataclasses import dataclass

_URI = re.compile(r"(?P<scheme>s3|gs)://(?P<anonymous>anonymous@)?(?P<bucket>[^/@]+)/?(?P<prefix>.*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A folder in a bucket."""

    scheme: str
    bucket: str
    prefix: str
    """Without slashes at its ends; empty for the whole bucket."""
    anonymous: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


def is_address(source: str) -> bool:
    """Whether a source is in a bucket."""
    return _URI.fullmatch(source) is not None


def address(uri: str) -> Address:
    """Take `s3://bucket/folder/` or `gs://bucket/folder/` apart; `anonymous@` before the bucket means without keys."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise ValueError(f"{uri!r} is not in a bucket; accepted: s3://BUCKET/FOLDER/ or gs://BUCKET/FOLDER/")
    return Address(found["scheme"], found["bucket"], found["prefix"].strip("/"), bool(found["anonymous"]))
