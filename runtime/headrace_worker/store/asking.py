"""Asks a bucket's server for the headers of an object, which obstore hides: checksums and encryption.

S3 gives checksums only to a request with `x-amz-checksum-mode`, which has to be signed, and which a signed address
cannot carry: AWS's own library signs it. Where obstore finds the keys in the cloud, that library finds them, too.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import obstore
from awscrt import auth, http, io
from obstore.store import GCSStore, S3Store
from yarl import URL

from headrace_worker.store.credentials import Provider
from headrace_worker.store.errors import AttemptError

MODE = {"x-amz-checksum-mode": "ENABLED"}
"""What S3 wants to be sent."""
VALID = timedelta(minutes=5)
"""How long what was signed may be used."""
_OK = 200


async def headers(url: str, sent: Mapping[str, str], timeout_s: float) -> dict[str, str]:
    """Those of the answer to HEAD, their names in lower case.

    Raises:
        AttemptError: there is none. Its text has no address: that may be a signed one, which is a secret.
    """
    status, found = await _head(url, sent, timeout_s)
    if status != _OK:
        raise AttemptError("passing" if status >= 500 else "final", f"it answered {status}")
    return found


async def region(url: str, timeout_s: float) -> str:
    """The region of a bucket of S3, which is told with whatever answer, also to who has no keys; else empty.

    Raises:
        AttemptError: there is no answer.
    """
    _, found = await _head(url, {}, timeout_s)
    return found.get("x-amz-bucket-region", "")


async def _head(url: str, sent: Mapping[str, str], timeout_s: float) -> tuple[int, dict[str, str]]:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.head(URL(url, encoded=True), headers=sent) as answer,  # what was signed is not to be written anew
        ):
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AttemptError("passing", type(error).__name__) from None


def plain(endpoint: str, bucket: str, key: str) -> str:
    """The address of an object for who has no keys."""
    return f"{endpoint.rstrip('/')}/{bucket}/{quote(key)}"


async def signed_gcs(store: GCSStore, key: str) -> str:
    """The address of an object of Google Cloud Storage."""
    return await obstore.sign_async(store, "HEAD", key, VALID)


async def signed_s3(
    store: S3Store, key: str, provider: Provider | None, environment: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """The address of an object of S3, and the headers to send."""
    signed = urlsplit(await obstore.sign_async(store, "HEAD", key, VALID))  # knows the address, and which region it is
    region = parse_qs(signed.query)["X-Amz-Credential"][0].split("/")[2]
    sent = {"host": signed.netloc, **MODE}
    made = await asyncio.to_thread(_signed, signed.path, sent, region, await _keys(provider, environment))
    return signed._replace(query="").geturl(), made


async def _keys(provider: Provider | None, environment: Mapping[str, str]) -> tuple[str, str, str | None] | None:
    """Those that are at hand; None where the cloud has to be asked."""
    if provider:
        made = await provider()
        return made["access_key_id"], made["secret_access_key"], made.get("token")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key, secret, token = (environment.get(name) for name in names)
    return (key, secret, token or None) if key and secret else None


def _signed(path: str, sent: dict[str, str], region: str, keys: tuple[str, str, str | None] | None) -> dict[str, str]:
    """Blocks where the cloud is asked for keys."""
    chain = auth.AwsCredentialsProvider
    provider = (
        chain.new_static(*keys) if keys else chain.new_default_chain(io.ClientBootstrap.get_or_create_static_default())
    )
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=provider,
        region=region,
        service="s3",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=auth.AwsSignedBodyValue.EMPTY_SHA256,
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    request = http.HttpRequest("HEAD", path, http.HttpHeaders(list(sent.items())))
    result: Any = auth.aws_sign_request(request, config).result(timeout=10)
    return {name: value for name, value in result.headers if name.lower() != "host"}
