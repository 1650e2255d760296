"""Buckets: how one is opened, listed and read. The only module that knows the library (obstore).

It says how an object of S3 is asked for, signs that, and the bytes come by `ranges`, at half the cost in CPU. Those of
Google Cloud Storage come by the library itself, because a role may lack the right to sign there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
import structlog
from obstore.store import GCSStore, S3Store

from headrace_api.s3_sync import SyncArguments
from headrace_worker.store import asking, headers, ranges, retry
from headrace_worker.store.address import Address
from headrace_worker.store.connections import Connections
from headrace_worker.store.credentials import Provider
from headrace_worker.store.errors import AttemptError
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.source import Sink
from headrace_worker.store.threads import Threads

if TYPE_CHECKING:
    from obstore import GetResult

log = structlog.get_logger()

_MOST_SMALL = 4096
_S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_GCS_KEYS = ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS")
_SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_PIECE = 2**18
_ASKED = 3
"""How often the server is asked for the headers of a file."""


@dataclass(frozen=True)
class Access:
    """How to get at buckets."""

    settings: StoreSettings
    arguments: SyncArguments = field(default_factory=SyncArguments)
    provider: Provider | None = None
    """Makes credentials; the environment's are used when absent."""


class Bucket:
    """A folder in a bucket, to read from. Every method raises `AttemptError`."""

    def __init__(self, where: Address, access: Access) -> None:
        self.where = where
        self._access = access
        self._store = _open(where, access)
        self._connections = Connections(access.settings.read_timeout_s)

    @property
    def _open_to_all(self) -> bool:
        return self.where.anonymous or self._access.arguments.anonymous

    async def listing(self) -> list[RemoteFile]:
        """Every file in the folder."""
        stem = f"{self.where.prefix}/" if self.where.prefix else ""
        found = await self._persist(self._pages)
        return [
            RemoteFile(item["path"].removeprefix(stem), item["size"], _bare(item["e_tag"]), item["path"])
            for item in found
            if item["path"].startswith(stem)
        ]

    async def _pages(self) -> list[Any]:
        found: list[Any] = []
        async for page in obstore.list(self._store, self.where.prefix or None):
            found += page
        return found

    async def small(self, file: RemoteFile) -> bytes:
        """A whole file of a few bytes."""
        if file.size > _MOST_SMALL:
            raise AttemptError(
                "final", f"the file {file.name!r} has {file.size} bytes; at most {_MOST_SMALL} are accepted"
            )

        async def attempt() -> bytes:
            return bytes(await (await self._got(file, 0, file.size)).bytes_async())

        return await self._persist(attempt) if file.size else b""

    async def copy(self, file: RemoteFile, start: int, end: int, sink: Sink, threads: Threads) -> None:
        """See `source.Remote`."""
        patience_s = self._access.settings.read_timeout_s * 4

        async def from_s3() -> None:
            headers = {"If-Match": f'"{file.etag}"'} if file.etag else {}
            wanted = ranges.Range(file, start + sink.written, end, await self._url(file.key), headers)
            await threads.run(lambda: ranges.copy(self._connections, wanted, sink, threads, patience_s))

        async def from_gcs() -> None:
            at = start + sink.written
            until = ranges.latest(patience_s, end - at)
            result = await self._got(file, at, end)
            await threads.run(lambda: _pour(result, end - at, sink, threads, until))

        await self._persist(from_s3 if isinstance(self._store, S3Store) else from_gcs)

    async def _url(self, key: str) -> str:
        """Where an object of S3 can be read without further keys, for a while."""
        if self._open_to_all:
            return asking.plain(_endpoint(self.where, self._access), self.where.bucket, key)
        return await obstore.sign_async(self._store, "GET", key, asking.VALID)

    async def _got(self, file: RemoteFile, start: int, end: int) -> "GetResult":
        async with asyncio.timeout(self._access.settings.read_timeout_s * 4):
            result = await obstore.get_async(self._store, file.key, options=self._options(file, start, end))
        if result.meta["size"] != file.size:
            raise AttemptError("changed", f"it has {result.meta['size']} bytes, not {file.size}")
        return result

    def _options(self, file: RemoteFile, start: int, end: int) -> Any:
        options: dict[str, Any] = {"range": (start, end)}
        if file.etag:
            options["if_match"] = f'"{file.etag}"'
        return options

    async def described(self, file: RemoteFile) -> RemoteFile:
        """See `source.Remote`. Nothing is lost where the server does not say: the ETag remains."""

        async def attempt() -> dict[str, str]:
            return await self._headers(file.key)

        try:
            found = await retry.persist(attempt, replace(self._access.settings.retries, attempts=_ASKED))
        except AttemptError as error:
            log.info("the server does not say what a file's checksum is", file=file.name, why=str(error))
            return file
        same = not file.etag or _bare(found.get("etag")) == file.etag
        return replace(file, checksum=headers.checksum(found)) if same else file

    async def _headers(self, key: str) -> dict[str, str]:
        settings, store = self._access.settings, self._store
        sent: dict[str, str] = {}
        if self._open_to_all:
            url = asking.plain(_endpoint(self.where, self._access), self.where.bucket, key)
            sent = asking.MODE if isinstance(store, S3Store) else {}
        elif isinstance(store, S3Store):
            url, sent = await asking.signed_s3(store, key, self._access.provider, settings.environment)
        else:
            url = await asking.signed_gcs(store, key)
        return await asking.headers(url, sent, settings.read_timeout_s)

    async def _persist(self, attempt: Callable[[], Awaitable[retry.Done]]) -> retry.Done:
        retries = self._access.settings.retries
        try:
            return await retry.persist(attempt, retries)
        except AttemptError as error:
            region = await self._region() if error.elsewhere else error.region
            if not region or region == self._access.arguments.region:
                raise
            log.info("the bucket is in another region", bucket=self.where.bucket, region=region)
            arguments = replace(self._access.arguments, region=region)
            self._access = replace(self._access, arguments=arguments)
            self._store = _open(self.where, self._access)
        return await retry.persist(attempt, retries)

    async def _region(self) -> str:
        """The region that the bucket's server names to everybody; empty where it names none."""
        url = asking.plain(_endpoint(self.where, self._access), self.where.bucket, "")
        try:
            return await asking.region(url, self._access.settings.read_timeout_s)
        except AttemptError as error:
            log.info("the server does not say where a bucket is", bucket=self.where.bucket, why=str(error))
            return ""


def _pour(result: "GetResult", size: int, sink: Sink, threads: Threads, until: float) -> None:
    """A body, in pieces that fit into the CPU's cache: they are hashed and written while they are there. Blocks."""
    left = size
    for piece in result.stream(min_chunk_size=_PIECE):
        threads.check()
        if len(piece) > left or time.monotonic() > until:
            break
        sink.write(memoryview(piece))
        left -= len(piece)
        if not left:
            return
    raise AttemptError("passing", f"{size - left} bytes came instead of {size}")


def _open(where: Address, access: Access) -> S3Store | GCSStore:
    return (_open_s3 if where.scheme == "s3" else _open_gcs)(where, access)


def _open_s3(where: Address, access: Access) -> S3Store:
    arguments = access.arguments
    endpoint = arguments.endpoint_url or access.settings.s3_endpoint
    config = _from_environment(_S3_KEYS, access)
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    if arguments.region:
        config["region"] = arguments.region
    if arguments.requester_pays:
        config["request_payer"] = True
    if where.anonymous or arguments.anonymous:
        config["skip_signature"] = True
    elif access.provider:
        config = {name: value for name, value in config.items() if name.lower() not in _SECRETS}
        return S3Store(where.bucket, config=config, credential_provider=access.provider, **_client(endpoint, access))  # type: ignore[arg-type]
    return S3Store(where.bucket, config=config, **_client(endpoint, access))  # type: ignore[arg-type]


def _open_gcs(where: Address, access: Access) -> GCSStore:
    endpoint = access.settings.gcs_endpoint
    config = _from_environment(_GCS_KEYS, access)
    if endpoint:
        config["base_url"] = endpoint.rstrip("/")
    if where.anonymous:
        config["skip_signature"] = True
    return GCSStore(where.bucket, config=config, **_client(endpoint, access))  # type: ignore[arg-type]


def _endpoint(where: Address, access: Access) -> str:
    """Where anybody may ask."""
    if where.scheme == "gs":
        return access.settings.gcs_endpoint or "https://storage.googleapis.com"
    found = map(access.settings.environment.get, _REGIONS)
    region = access.arguments.region or next(filter(None, found), "us-east-1")
    return access.arguments.endpoint_url or access.settings.s3_endpoint or f"https://s3.{region}.amazonaws.com"


def _from_environment(names: tuple[str, ...], access: Access) -> dict[str, Any]:
    """The keys in the settings' environment, which may have more than that of the process."""
    environment = access.settings.environment
    return {name.lower(): environment[name] for name in names if environment.get(name)}


def _client(endpoint: str | None, access: Access) -> dict[str, Any]:
    silence = timedelta(seconds=access.settings.read_timeout_s)
    options: dict[str, Any] = {"read_timeout": silence, "connect_timeout": timedelta(seconds=10), "timeout": "1h"}
    if endpoint and endpoint.startswith("http://"):
        options["allow_http"] = True
    # attempts are counted here, where a broken body counts, too
    return {"client_options": options, "retry_config": {"max_retries": 0, "retry_timeout": timedelta(minutes=3)}}


def _bare(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')
