"""JSON logs on standard error, one object a line, also for what libraries log; `docs/operations.md` lists the fields.

Tokens and prompts never come this far: the operator reads no Secret, and the libraries' DEBUG lines, which hold request
headers and bodies, are not let through at any level.
"""

import logging
import re
import sys
import time
from typing import Any, TextIO

import structlog

from headrace_api import inference_model as api

_REPEAT_SECONDS = 60.0
_REMEMBERED = 500
_GRAVE = frozenset({"warning", "error", "exception", "critical"})
_NUMBERS = re.compile(r"\d+")
_LIBRARIES: dict[str, int] = {
    "kopf": logging.INFO,
    "kopf.objects": logging.WARNING,  # at INFO it has a line for each event of each object
    "kubernetes": logging.WARNING,
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""The least level of what each library says; DEBUG would be its requests with their bodies."""


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Log from `level` (DEBUG, INFO, WARNING or ERROR) upwards to `stream`."""
    least = logging.getLevelNamesMapping()[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    repeats = Repeats()
    handler = logging.StreamHandler(stream)
    handler.addFilter(repeats)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _about_a_model, _repeated],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(least, logging.INFO), force=True)
    for name, floor in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(least, floor))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(stream),
        processors=[
            *shared,
            repeats.process,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )


class Repeats:
    """Lets the same warning through once a minute; the next one says how many were left out.

    While the API server is away kopf says so for every watch every two seconds, and the operator for every try.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], tuple[float, int]] = {}

    def left_out(self, *words: str) -> int | None:
        """How many were left out since this was last said; None when it is to be left out, too.

        What differs in numbers only is the same.
        """
        key = tuple(_NUMBERS.sub("#", word) for word in words)
        now = time.monotonic()
        if len(self._last) > _REMEMBERED:
            self._last = {key: one for key, one in self._last.items() if now - one[0] < _REPEAT_SECONDS}
        then, count = self._last.get(key, (float("-inf"), 0))
        if now - then < _REPEAT_SECONDS:
            self._last[key] = (then, count + 1)
            return None
        self._last[key] = (now, 0)
        return count

    def filter(self, record: logging.LogRecord) -> bool:
        """For `logging`: lines of libraries."""
        if record.levelno < logging.WARNING:
            return True
        if (count := self.left_out(record.name, record.getMessage())) is None:
            return False
        record.left_out = count
        return True

    def process(self, _: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """For structlog: the operator's own lines; of each model the same may be said."""
        if method in _GRAVE:
            count = self.left_out(*(str(event.get(key, "")) for key in ("event", "model", "error")))
            if count is None:
                raise structlog.DropEvent
            if count:
                event["left_out"] = count
        return event


def _about_a_model(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the model that kopf speaks of as our own lines do."""
    reference = getattr(event["_record"], "k8s_ref", None) or {}
    if reference.get("kind") == api.KIND:
        event.setdefault("model", f"{reference.get('namespace')}/{reference.get('name')}")
    elif reference:
        event["object"] = " ".join(str(reference.get(key)) for key in ("kind", "namespace", "name"))
    return event


def _repeated(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if left_out := getattr(event["_record"], "left_out", 0):
        event["left_out"] = left_out
    return event
