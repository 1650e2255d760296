"""JSON logs, one object a line, on standard output. Prompts and answers are never part of one."""

import logging
import sys
from typing import Any, TextIO, cast

import structlog
from pydantic_core import to_json

_SHARED: tuple[Any, ...] = (structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True))


def make_logger(level: str = "info", stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes to `stream` (standard output by default) from `level` on."""
    made = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stdout),
        processors=[*_SHARED, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return cast("structlog.typing.FilteringBoundLogger", made)


def _json(line: Any, **_: Any) -> str:
    return to_json(line, fallback=repr).decode()  # a line is written for each request: this takes a third of the time


def capture_libraries() -> None:
    """Give the warnings and errors of libraries, which use the standard `logging`, the same form."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=list(_SHARED),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
