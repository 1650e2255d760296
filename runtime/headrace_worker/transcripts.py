"""Prompts and answers in the log, at `debug` only: whoever sets that level has asked for them."""

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from headrace_worker.answering import Emit

log = structlog.get_logger()


def wanted() -> bool:
    """Whether the log's level asks for them; a question to ask once and not for each request."""
    return bool(log.is_enabled_for(logging.DEBUG))


def logged(request_id: str, request: Mapping[str, Any], emit: Emit) -> Emit:
    """Log the request now and each piece of its answer as it is emitted."""
    log.debug("request", request_id=request_id, openai_req=request)

    def emit_and_log(data: bytes) -> None:
        log.debug("answer", request_id=request_id, piece=data.decode(errors="replace"))
        emit(data)

    return emit_and_log
