"""The engine's own Prometheus metrics, passed on: names as they are, with labels that say which model and engine.

The page is not parsed into metrics and built again: every line is checked and gets its labels put in. For vLLM's 580
lines that holds tokens up for one millisecond at each scrape, prometheus_client's parser alone for ten. The format is
Prometheus' text format 0.0.4. The labels' names begin with `headrace_`, as no engine's do (vLLM has an `engine` of its
own, the number of a replica).
"""

import re
from dataclasses import dataclass

import aiohttp
import structlog

OURS = "headrace_"
"""What names begin with that are the worker's own."""
_TIMEOUT_S = 1.0
_LARGEST_BYTES = 8 << 20
_PLAIN = {"Accept": "text/plain;version=0.0.4"}

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_PAIR = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*"'
_NUMBER = r"(?:[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[Ii]nf)|[Nn]a[Nn])"
_SAMPLE = re.compile(rf"({_NAME})[ \t]*(?:\{{[ \t]*((?:{_PAIR}[ \t]*,?[ \t]*)*)\}})?[ \t]*({_NUMBER}(?:[ \t]+-?\d+)?)")
_ABOUT = re.compile(rf"# (?:HELP|TYPE) ({_NAME})(?: .*)?")

log = structlog.get_logger()


class NotMetricsError(ValueError):
    """The engine's answer is not a page of metrics."""


@dataclass(frozen=True)
class Source:
    """Where an engine has its metrics."""

    url: str
    model: str
    engine: str
    """Its name in a configuration, e.g. `VLLMEngine`."""


def passed_on(page: str, model: str, engine: str) -> str:
    """The page with the two labels in every sample; what is not about a metric, or named as ours, is left out.

    Raises:
        NotMetricsError: a line is not of the format; the message has its number.
    """
    ours = f'{OURS}model="{_escaped(model)}",{OURS}engine="{_escaped(engine)}"'
    lines = [_line(text, number, ours) for number, text in enumerate(page.split("\n"), 1)]
    return "".join(f"{line}\n" for line in lines if line)


async def fetch(session: aiohttp.ClientSession, source: Source) -> str | None:
    """The engine's metrics, to be put behind the worker's; None where the engine has none to give now."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with session.get(source.url, timeout=timeout, headers=_PLAIN) as response:
            if response.status != 200:
                raise NotMetricsError(f"status {response.status}")
            page = await response.content.read(_LARGEST_BYTES)
            while page and len(page) < _LARGEST_BYTES and (more := await response.content.read(_LARGEST_BYTES)):
                page += more
        return passed_on(page.decode(), source.model, source.engine)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        log.debug("the engine's metrics cannot be had", url=source.url, error=f"{type(error).__name__}: {error}")
        return None


def _line(text: str, number: int, ours: str) -> str:
    if not text.strip() or text.startswith("#"):
        about = _ABOUT.fullmatch(text)
        return text if about and not about[1].startswith(OURS) else ""
    sample = _SAMPLE.fullmatch(text.strip())
    if sample is None:
        raise NotMetricsError(f"line {number} is not a sample of Prometheus' text format")
    name, labels, value = sample.groups()
    if name.startswith(OURS):
        return ""
    labels = (labels or "").rstrip(", \t")
    return f"{name}{{{labels + ',' if labels else ''}{ours}}} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
