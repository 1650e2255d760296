"""What the environment tells the model store: where the cache is, how large it may be, and keys of the hub.

Of the keys of buckets (`AWS_*`, `GOOGLE_*`), the library that speaks to them reads more than is named here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace_worker.settings import SettingsError, model_cache
from headrace_worker.store.retry import Retries

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?)?B?")
_UNITS = {"": 1} | {
    f"{letter}{suffix}": base ** (power + 1)
    for suffix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGT")
}
_TRUE = {"1", "on", "yes", "true"}
_MIB = 2**20


@dataclass(frozen=True)
class StoreSettings:
    """Checked."""

    cache: Path
    """`HF_HUB_CACHE`, else `hub` in `HF_HOME`."""
    limit_bytes: int | None = None
    """`HEADRACE_MODEL_CACHE_LIMIT`: how large the cache may become; None: as large as the disk."""
    offline: bool = False
    """`HF_HUB_OFFLINE`: the hub is not asked; what the cache has is used. Buckets are asked all the same."""
    hub_endpoint: str | None = None
    """`HF_ENDPOINT`; the hub itself when None."""
    hub_token: str | None = None
    """`HF_TOKEN`; the library looks for a stored one when None."""
    s3_endpoint: str | None = None
    """`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or `AWS_ENDPOINT`."""
    gcs_endpoint: str | None = None
    """`GOOGLE_BASE_URL`, or the emulator's `STORAGE_EMULATOR_HOST`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Where `auth_token_env_variable` and keys of buckets are looked up."""
    chunk_bytes: int = 64 * _MIB
    """Of one request: what a kill loses, times `parallel`."""
    parallel: int = field(default_factory=lambda: min(32, max(8, 4 * (os.cpu_count() or 1))))
    """Requests at the same time: more than that move no more bytes, and take time from each other."""
    read_timeout_s: float = 30.0
    """How long a connection may be silent."""
    sync_after_s: float = 60.0
    """How long after a download the disk is asked to have written it: by then the kernel has written most of it."""
    retries: Retries = field(default_factory=Retries)


def read(env: Mapping[str, str]) -> StoreSettings:
    """Read the settings from environment variables.

    Raises:
        SettingsError: a value is not usable; the message names the variable and what is accepted.
    """
    return StoreSettings(
        cache=model_cache(env),
        limit_bytes=_size("HEADRACE_MODEL_CACHE_LIMIT", env.get("HEADRACE_MODEL_CACHE_LIMIT")),
        offline=(env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE") or "").lower() in _TRUE,
        hub_endpoint=env.get("HF_ENDPOINT") or None,
        hub_token=env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or None,
        s3_endpoint=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or env.get("AWS_ENDPOINT") or None,
        gcs_endpoint=env.get("GOOGLE_BASE_URL") or env.get("STORAGE_EMULATOR_HOST") or None,
        environment=env,
    )


def _size(name: str, text: str | None) -> int | None:
    if not text:
        return None
    found = _SIZE.fullmatch(text.strip())
    if not found or float(found["number"]) == 0:
        raise SettingsError(f"{name}: {text!r} is not a size; accepted: bytes, or for example 500Gi")
    return int(float(found["number"]) * _UNITS[found["unit"] or ""])
