"""What the environment tells the worker: the only place that reads environment variables."""

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_worker.engines.protocol import Programs

if TYPE_CHECKING:  # takes time to load, and most workers need no context of their own
    import ssl

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

_DEFAULT_TERMINATION_LOG = Path("/dev/termination-log")
_TLS_FILES = ("CA", "CERT", "KEY")
_KEPT_FROM_ENGINES = ("HEADRACE_QUEUE_TOKEN", "HEADRACE_QUEUE_TOKEN_FILE")


class SettingsError(ValueError):
    """An environment variable, or the token, says something the worker cannot use."""


@dataclass(frozen=True)
class Settings:
    """The worker's environment, checked."""

    log_level: str
    """One of `LOG_LEVELS`."""
    queue_token: str | None
    """Wins over the configuration file's token."""
    queue_tls: "ssl.SSLContext | None"
    """For connections to the queue; None for the system's authorities."""
    worker_name: str
    ln_url: str
    """What the original protocol calls the worker's link URL; told to queues as it is."""
    model_cache: Path
    """Where Hugging Face's own libraries keep models: its file system is the one that has to have room."""
    grace_seconds: float
    """How long requests that are under way may go on after SIGTERM."""
    hang_seconds: float
    """How long an engine may have requests and give no token; 0 stands for ever."""
    inter_token_seconds: float
    """The longest that the time between two tokens of a stream shall become by taking more requests."""
    cache: Path
    """Where the worker keeps what it makes once per machine, beside models."""
    programs: Programs
    """Where the engines' programs are."""
    termination_log: Path | None
    """Where Kubernetes reads why a container ended."""
    engine_environment: Mapping[str, str]
    """What an engine inherits: everything but the queue's token, which is not an engine's business, and where it keeps
    what it compiles, unless the environment says."""


def read(environ: Mapping[str, str] | None = None, *, log_level: str | None = None) -> Settings:
    """Read the settings from `environ` (the process's own when absent); `log_level` is for where it has none.

    Raises:
        SettingsError: a variable's value is not usable; the message names it and what is accepted.
    """
    env = os.environ if environ is None else environ
    return Settings(
        log_level=_log_level(env.get("LOG_LEVEL") or log_level or "info"),
        queue_token=_token(env),
        queue_tls=_queue_tls(env),
        worker_name=env.get("HEADRACE_WORKER_NAME") or socket.gethostname(),
        ln_url=env.get("HEADRACE_LN_URL") or "",
        model_cache=model_cache(env),
        grace_seconds=_seconds("HEADRACE_GRACE_SECONDS", env.get("HEADRACE_GRACE_SECONDS") or "25"),
        hang_seconds=_seconds("HEADRACE_HANG_SECONDS", env.get("HEADRACE_HANG_SECONDS") or "180"),
        inter_token_seconds=_seconds("HEADRACE_INTER_TOKEN_SECONDS", env.get("HEADRACE_INTER_TOKEN_SECONDS") or "0.2"),
        cache=_cache(env),
        programs=programs(env),
        termination_log=_termination_log(env.get("HEADRACE_TERMINATION_LOG")),
        engine_environment={**_compiled(_cache(env)), **engine_environment(env)},
    )


def usable_token(settings: Settings, file_token: str | None) -> str | None:
    """The token to show to the queue: the environment's, else the file's.

    Raises:
        SettingsError: the token is a row of X's, which is how a masked token is written in published examples.
    """
    token = settings.queue_token or file_token
    if token and re.fullmatch(r"[Xx]+", token):
        raise SettingsError(
            f"the queue's token: {token!r} is a masked token, not a real one; give the real one in the environment "
            "variable HEADRACE_QUEUE_TOKEN, or in a file named by HEADRACE_QUEUE_TOKEN_FILE, or as queue.token "
            "(--show-token prints a configuration with its real one), or take queue.token out of the configuration"
        )
    return token or None


def engine_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What an engine inherits of `environ` (the process's own when absent); see `Settings`."""
    env = os.environ if environ is None else environ
    return {name: value for name, value in env.items() if name not in _KEPT_FROM_ENGINES}


def programs(environ: Mapping[str, str] | None = None) -> Programs:
    """Where the engines' programs are, by `environ` (the process's own when absent)."""
    env = os.environ if environ is None else environ
    return Programs(
        python=sys.executable,
        vllm=env.get("HEADRACE_VLLM_PYTHON") or sys.executable,
        embeddings=env.get("HEADRACE_EMBEDDINGS_PYTHON") or sys.executable,
        trtllm_serve=env.get("HEADRACE_TRTLLM_SERVE") or "trtllm-serve",
    )


def model_cache(env: Mapping[str, str]) -> Path:
    """Where models are kept: as `huggingface_hub.constants` finds it, so that everybody finds the same."""
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or f"{home}/hub").expanduser()


def _cache(env: Mapping[str, str]) -> Path:
    named = env.get("HEADRACE_CACHE") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/headrace"
    return Path(named).expanduser()


def _compiled(cache: Path) -> dict[str, str]:
    """Where engines keep what they compile: beside the models, or a restart compiles again.

    Each of these keeps entries by a hash of what they were made from: vLLM of its version, configuration and a model's
    code; Triton, Inductor and FlashInfer of a kernel's source and the GPU. So models, versions and workers share them.
    """
    return {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(cache),
    }


def _token(env: Mapping[str, str]) -> str | None:
    if token := env.get("HEADRACE_QUEUE_TOKEN"):
        return token
    file = env.get("HEADRACE_QUEUE_TOKEN_FILE")
    if not file:
        return None
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"HEADRACE_QUEUE_TOKEN_FILE: cannot read {file!r}: {error}") from error
    if not token:
        raise SettingsError(f"HEADRACE_QUEUE_TOKEN_FILE: {file!r} is empty; it must hold the queue's token")
    return token


def _queue_tls(env: Mapping[str, str]) -> "ssl.SSLContext | None":
    files = [Path(value) if (value := env.get(f"HEADRACE_QUEUE_{name}_FILE")) else None for name in _TLS_FILES]
    if not any(files):
        return None
    from headrace_worker import queue_tls  # noqa: PLC0415 (see above)

    try:
        return queue_tls.context(*files)
    except queue_tls.TlsError as error:
        raise SettingsError(str(error)) from error


def _log_level(value: str) -> str:
    if value.lower() not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL: {value!r} is not a log level; accepted: {', '.join(LOG_LEVELS)}")
    return value.lower()


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SettingsError(f"{name}: {value!r} is not a number of seconds; accepted: 0 or more")
    return seconds


def _termination_log(value: str | None) -> Path | None:
    if value:
        return Path(value)
    return _DEFAULT_TERMINATION_LOG if _DEFAULT_TERMINATION_LOG.exists() else None
