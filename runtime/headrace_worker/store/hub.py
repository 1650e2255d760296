"""The Hugging Face Hub: what a repository holds, and ranges of its files.

The hub's own library asks who may see what, and where a file is; bytes come as from a bucket, in ranges and checked by
the hashes that the hub tells, because the library fetches a file in one stream and makes it visible before the others.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._headers import build_hf_headers

from headrace_worker.store import ranges, retry
from headrace_worker.store.connections import Connections
from headrace_worker.store.errors import AttemptError, of_status
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.source import Sink
from headrace_worker.store.threads import Threads


@dataclass(frozen=True)
class Repository:
    """A repository at one moment."""

    commit: str
    files: tuple[RemoteFile, ...]


class Hub:
    """One repository. Every method raises `AttemptError`."""

    def __init__(self, repo: str, revision: str, settings: StoreSettings) -> None:
        self.repo = repo
        self._revision = revision
        self._settings = settings
        self._connections = Connections(settings.read_timeout_s)
        self._endpoint = (settings.hub_endpoint or constants.ENDPOINT).rstrip("/")
        self._commit = "main"
        self._located: dict[str, str] = {}

    @property
    def where(self) -> str:
        """The repository's page."""
        return f"{self._endpoint}/{self.repo}" + (f"/tree/{self._revision}" if self._revision else "")

    async def listing(self) -> Repository:
        """What the repository holds now."""
        api = HfApi(endpoint=self._endpoint, token=self._settings.hub_token)

        async def attempt() -> Any:
            named = {"revision": self._revision or None, "files_metadata": True, "timeout": 30}
            return await self._blocking(api.model_info, self.repo, **named)

        info = await retry.persist(attempt, self._settings.retries)
        if not info.sha:
            raise AttemptError("final", f"{self.where} has no commit")
        self._commit = info.sha
        return Repository(info.sha, tuple(_file(one) for one in info.siblings or []))

    async def copy(self, file: RemoteFile, start: int, end: int, sink: Sink, threads: Threads) -> None:
        """See `source.Remote`."""
        patience_s = self._settings.read_timeout_s * 4

        async def attempt() -> None:
            wanted = ranges.Range(file, start + sink.written, end, *await self._address(file))
            try:
                await threads.run(lambda: ranges.copy(self._connections, wanted, sink, threads, patience_s))
            except AttemptError:
                self._located.pop(file.name, None)  # an address of the storage behind the hub is good for a while only
                raise

        await retry.persist(attempt, self._settings.retries)

    async def described(self, file: RemoteFile) -> RemoteFile:
        """The hub's hashes are all that it tells."""
        return file

    async def _address(self, file: RemoteFile) -> tuple[str, dict[str, str]]:
        """Where a file is, and the headers to send there."""
        url = self._located.get(file.name) or await self._locate(file)
        ours = urlsplit(url).netloc == urlsplit(self._endpoint).netloc  # nobody else is shown the token
        return url, build_hf_headers(token=self._settings.hub_token) if ours else {}

    async def _blocking(self, call: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return await asyncio.to_thread(call, *arguments, **named)
        except Exception as error:
            raise _failure(error, self._endpoint) from error

    async def _locate(self, file: RemoteFile) -> str:
        url = hf_hub_url(self.repo, file.name, revision=self._commit, endpoint=self._endpoint)
        token, endpoint = self._settings.hub_token, self._endpoint
        found = await self._blocking(get_hf_file_metadata, url, token=token, endpoint=endpoint, timeout=30)
        self._located[file.name] = str(found.location)
        return self._located[file.name]


def _failure(error: Exception, endpoint: str) -> AttemptError:
    """What an error of the hub's library means; its texts are kept, for people search for them."""
    text = " ".join(str(error).split())[:600]
    if isinstance(error, GatedRepoError):
        return AttemptError("final", text)
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
        return AttemptError("missing", text)
    if isinstance(error, OfflineModeIsEnabled):
        return AttemptError("away", text)
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return AttemptError(of_status(error.response.status_code), text)
    return AttemptError("passing", f"couldn't connect to '{endpoint}': {type(error).__name__}: {text}")


def _file(sibling: Any) -> RemoteFile:
    """A file with the hash that the hub tells: SHA-256 of those in LFS, Git's own of the others."""
    lfs = sibling.lfs
    return RemoteFile(sibling.rfilename, sibling.size or 0, lfs.sha256 if lfs else sibling.blob_id or "")
