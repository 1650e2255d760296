"""JSON logs, one object a line, on standard output. Prompts and answers are never part of one."""

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from pydantic_core import to_json


def make_logger(level: str = "info", stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes to `stream` (standard output by default) from `level` on."""
    made = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stdout),
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return cast("structlog.typing.FilteringBoundLogger", made)


def _line(logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
    """All that there is to do for a line, at once: one is written for each request, and a chain costs more."""
    if "exc_info" in fields:
        fields = structlog.processors.format_exc_info(logger, method, fields)
    fields["level"] = method
    fields["timestamp"] = datetime.now(UTC)
    return to_json(fields, fallback=repr).decode()


def capture_libraries() -> None:
    """Give the warnings and errors of libraries, which use the standard `logging`, the same form."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
