"""`s3_aws_credentials`: keys for a bucket that are made by an HTTP service, for each worker anew.

As RayLLM's worker asked: POST without a body, the token (if any) as a bearer token; the answer is a JSON object of
environment variables, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and perhaps `AWS_SESSION_TOKEN`. Beyond that an
`AWS_CREDENTIAL_EXPIRATION` (RFC 3339) is understood, and keys without one are made anew after a while.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from headrace_api.worker_config import S3AwsCredentials
from headrace_worker.store import retry
from headrace_worker.store.errors import AttemptError, StoreError

Provider = Callable[[], Awaitable[Any]]
"""What the library calls for keys: obstore's `S3CredentialProvider`."""

_KEY = "generator.s3_mirror_config.s3_aws_credentials"
_LIFETIME = timedelta(minutes=15)
"""The shortest that AWS makes keys for."""
_TIMEOUT = aiohttp.ClientTimeout(total=30)


def token(config: S3AwsCredentials, environment: Mapping[str, str]) -> str | None:
    """The token for the service, None when there is none to be shown.

    Raises:
        StoreError: the variable that holds it is not set.
    """
    name = config.auth_token_env_variable
    if name is None:
        return None
    if not environment.get(name):
        raise StoreError(
            f"{_KEY}.auth_token_env_variable: the environment variable {name} is not set; it holds the token for "
            f"{config.create_aws_credentials_url} (with Kubernetes, from the Secret of engine.credentialsSecretRef)"
        )
    return environment[name]


def from_answer(answer: Any, now: datetime) -> dict[str, Any]:
    """Keys as obstore wants them (`S3Credential`), from the service's answer. Pure.

    Raises:
        AttemptError: they are not in it. The message does not repeat values: they may be secrets.
    """
    found = answer if isinstance(answer, dict) else {}
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not isinstance(found.get(name), str)]
    if missing:
        raise AttemptError("final", f"its answer is no JSON object with {' and '.join(missing)}")
    return {
        "access_key_id": found["AWS_ACCESS_KEY_ID"],
        "secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
        "token": found.get("AWS_SESSION_TOKEN"),
        "expires_at": _expiry(found.get("AWS_CREDENTIAL_EXPIRATION")) or now + _LIFETIME,
    }


def provider(config: S3AwsCredentials, environment: Mapping[str, str], retries: retry.Retries) -> Provider:
    """A provider that asks the service."""
    shown = token(config, environment)
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    url = config.create_aws_credentials_url

    async def ask() -> dict[str, Any]:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.post(url, headers=headers) as answer:
            if answer.status != 200:
                raise AttemptError("passing" if answer.status >= 500 else "final", f"it answered {answer.status}")
            try:
                body = await answer.json(content_type=None)
            except ValueError:
                body = None
        return from_answer(body, datetime.now(UTC))

    async def keys() -> dict[str, Any]:
        try:
            return await retry.persist(ask, retries)
        except AttemptError as error:
            raise StoreError(f"{_KEY}.create_aws_credentials_url: {url} gave no keys: {error}") from error

    return keys


def _expiry(text: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
