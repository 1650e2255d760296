"""Turns a whole chat reply into what the client asked for: server-sent events, or a complete OpenAI object.

Workers of the seed's protocol answer with `choices` and `usage` only. The official `openai` client also wants id,
object, created and model, and, for a stream, chunks. What a reply does have is kept as it is.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace_api.wire import Usage

DONE = b"data: [DONE]\n\n"
"""The end of a stream of the OpenAI API."""


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def complete(reply: Mapping[str, Any], model: str, request_id: str, created: int) -> dict[str, Any]:
    """A chat completion: the reply, with what it lacks filled in; `created` is in seconds since 1970."""
    known = {key: value for key, value in reply.items() if value is not None}
    return {"id": f"chatcmpl-{request_id}", "object": "chat.completion", "created": created, "model": model, **known}


def events(
    reply: Mapping[str, Any], model: str, request_id: str, created: int, *, include_usage: bool
) -> Iterator[bytes]:
    """The same as a stream: for each choice its role, its content and its finish, then usage if wanted, then the end.

    `reply` must be one that `fault` finds nothing wrong with.
    """
    whole = complete(reply, model, request_id, created)
    head = {key: whole[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    usage = {"usage": None} if include_usage else {}
    for position, choice in enumerate(reply["choices"]):
        for part in _parts(choice):
            yield event({**head, "choices": [{"index": choice.get("index", position), **part}], **usage})
    if include_usage:
        yield event({**head, "choices": [], "usage": reply.get("usage")})
    yield DONE


def chunk(reply: Mapping[str, Any], model: str, request_id: str) -> bytes:
    """One event of a worker's own stream, with what it lacks filled in."""
    head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": 0, "model": model}
    return event(head | {key: value for key, value in reply.items() if value is not None})


def fault(reply: Any) -> str | None:
    """What is wrong with a worker's reply as a chat completion, in words; None if nothing is."""
    if not isinstance(reply, dict):
        return f"it is a JSON {type(reply).__name__}, not an object"
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        return "it has no list `choices` with at least one choice"
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            return f"`choices[{position}]` is not an object with a `message`"
    return None


def usage_of(told: Any) -> Usage | None:
    """What a worker, or an engine in its stream, counted; an answer without a count is better than none."""
    try:
        return msgspec.convert(told, Usage, strict=False) if told else None
    except msgspec.ValidationError:
        return None


def error_status(error: Any) -> int:
    """The HTTP status for a worker's `error`: its code if that is one, else by its type, else 502."""
    if not isinstance(error, dict):
        return 502
    for key in ("code", "status"):
        if isinstance(error.get(key), int) and 400 <= error[key] <= 599:
            return int(error[key])
    types = {"invalid_request_error": 400, "authentication_error": 401, "not_found_error": 404, "rate_limit_error": 429}
    return types.get(str(error.get("type")), 502)


def error_body(error: Any) -> dict[str, Any]:
    """A worker's `error` as an OpenAI error object, with what it lacks filled in."""
    given = error if isinstance(error, dict) else {"message": str(error)}
    return {
        "error": {"message": "The worker reports an error.", "type": "server_error", "param": None, "code": None}
        | given
    }


def _parts(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    message = {key: value for key, value in choice["message"].items() if value is not None}
    role = message.pop("role", "assistant")
    yield {"delta": {"role": role, "content": ""}, "finish_reason": None}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    if message:
        delta: dict[str, Any] = {"delta": message, "finish_reason": None}
        yield delta | ({"logprobs": choice["logprobs"]} if choice.get("logprobs") else {})
    yield {"delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
