"""Where a model can come from, and what the store needs of such a place."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from headrace_api.sources import REPOSITORY
from headrace_worker.engines.gguf import split_name
from headrace_worker.store import address
from headrace_worker.store.errors import StoreError
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.threads import Threads

_PATH = ("/", "./", "../", "~")


class Sink(Protocol):
    """Where the bytes of a range go, one piece after the other. Blocks, so it is called in `Threads`."""

    @property
    def written(self) -> int:
        """How many have come: an attempt goes on where the one before broke off."""

    def write(self, data: memoryview) -> None:
        """The next piece."""


class Remote(Protocol):
    """A place with files that are fetched in ranges. Every method raises `errors.AttemptError`."""

    @property
    def where(self) -> object:
        """Its address, for people."""

    async def copy(self, file: RemoteFile, start: int, end: int, sink: Sink, threads: Threads) -> None:
        """Give the bytes from `start` to before `end`, of the version of the file that was listed, to a sink."""

    async def described(self, file: RemoteFile) -> RemoteFile:
        """The file with the checksum that the place tells beside its ETag, if it does."""


@dataclass(frozen=True)
class Source:
    """A source's text, understood."""

    kind: Literal["path", "hub", "bucket"]
    place: str
    """The path, the repository or the bucket's address."""
    quant: str | None = None
    """The quantisation whose GGUF file is meant."""
    revision: str = ""
    """The branch, tag or commit of a repository; `main` where it is empty."""


def exists(path: str) -> bool:
    """Whether there is a file or a folder.

    Raises:
        StoreError: this user may not know.
    """
    try:
        return Path(path).expanduser().exists()
    except PermissionError as error:
        raise StoreError(
            f"{path!r:.200} cannot be read: {error.strerror}; the worker's user has to have the right to read it, and "
            "to pass through the folders above it"
        ) from error
    except OSError:  # a name that is too long for one
        return False


def understand(text: str, exists: Callable[[str], bool] = exists) -> Source:
    """Tell a path, a repository of the hub and a bucket apart; what is there wins, as it does with vLLM.

    Args:
        text: with the quantisation of a GGUF file after a colon, perhaps.
        exists: whether there is something at a path.

    Raises:
        StoreError: it is none of them.
    """
    if not text:
        raise StoreError("nothing says where the weights are; accepted: a path, a Hugging Face id, s3:// or gs://")
    if exists(text):
        return Source("path", text)
    if address.is_address(text):
        return Source("bucket", text)
    place, quant = split_name(text)
    if place.startswith(_PATH) or exists(place):
        return Source("path", place, quant)
    if found := REPOSITORY.fullmatch(place):
        return Source("hub", found["repository"], quant, found["revision"] or "")
    raise StoreError(
        f"{text!r:.200} is neither a file nor a folder; accepted: a path, a Hugging Face id (organisation/model, "
        "with @revision if need be), s3:// or gs://"
    )
