"""The address of a folder in a bucket: `s3://bucket/folder/` or `gs://bucket/folder/`. Pure."""

from dataclasses import dataclass

from headrace_api.sources import BUCKET


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
    return BUCKET.fullmatch(source) is not None


def address(uri: str) -> Address:
    """Take `s3://bucket/folder/` or `gs://bucket/folder/` apart; `anonymous@` before the bucket means without keys."""
    found = BUCKET.fullmatch(uri)
    if found is None:
        raise ValueError(f"{uri!r} is not in a bucket; accepted: s3://BUCKET/FOLDER/ or gs://BUCKET/FOLDER/")
    return Address(found["scheme"], found["bucket"], (found["prefix"] or "").strip("/"), bool(found["anonymous"]))
