"""JSON logs, one object a line, on standard output. Prompts and answers are never part of one."""

import asyncio
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


class RequestLog:
    """The line of each request: past structlog's layers, and those of one turn of the event loop written together.

    That is a twentieth of what a request costs.
    """

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        bound: Any = log.bind()
        self._wanted: bool = bound.is_enabled_for(logging.INFO)
        self._logger: Any = bound._logger  # noqa: SLF001 - as structlog's own wrapper classes
        self._loop = asyncio.get_running_loop()
        self._lines: list[str] = []

    def add(self, fields: dict[str, Any]) -> None:
        """Write a line with these fields, soon."""
        if not self._wanted:
            return
        if not self._lines:
            self._loop.call_soon(self._write)
        fields["event"] = "request"
        self._lines.append(_line(self._logger, "info", fields))

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self._logger.msg("\n".join(lines))


def _line(logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
    """All that there is to do for a line, at once."""
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
