"""Turns a whole reply into what the client asked for: server-sent events, or a complete OpenAI object.

Workers of the seed's protocol answer with `choices` and `usage` only. The official `openai` client also wants id,
object, created and model, and, for a stream, chunks. What a reply does have is kept as it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from headrace_api.wire import Usage
from headrace_queue.errors import error_type

DONE = b"data: [DONE]\n\n"
"""The end of a stream of the OpenAI API."""


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def complete(reply: Mapping[str, Any], model: str, request_id: str, created: int) -> dict[str, Any]:
    """A chat completion: the reply, with what it lacks filled in; `created` is in seconds since 1970."""
    return _filled(reply, f"chatcmpl-{request_id}", "chat.completion", model, created)


def events(
    reply: Mapping[str, Any], model: str, request_id: str, created: int, *, include_usage: bool
) -> Iterator[bytes]:
    """The same as a stream: for each choice its role, its content and its finish, then usage if wanted, then the end.

    `reply` must be one that `fault` finds nothing wrong with.
    """
    head = _head(complete(reply, model, request_id, created)) | {"object": "chat.completion.chunk"}
    return _events(reply, head, _parts, include_usage=include_usage)


def text_events(
    reply: Mapping[str, Any], model: str, request_id: str, created: int, *, include_usage: bool
) -> Iterator[bytes]:
    """A completion of a text as a stream: an event for each choice, then as in `events`."""
    head = _head(_filled(reply, f"cmpl-{request_id}", "text_completion", model, created))
    return _events(reply, head, _text_parts, include_usage=include_usage)


def chunk(reply: Mapping[str, Any], model: str, request_id: str, created: int) -> bytes:
    """One event of a worker's own stream, with what it lacks filled in; `created` is the same for all of them."""
    return event(_filled(reply, f"chatcmpl-{request_id}", "chat.completion.chunk", model, created))


def fault(reply: Any) -> str | None:
    """What is wrong with a worker's reply as a chat completion, in words; None if nothing is."""
    return _fault(reply, "message", dict)


def text_fault(reply: Any) -> str | None:
    """The same of a completion of a text."""
    return _fault(reply, "text", str)


def _fault(reply: Any, said: str, kind: type) -> str | None:
    if not isinstance(reply, dict):
        return f"it is a JSON {type(reply).__name__}, not an object"
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        return "it has no list `choices` with at least one choice"
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(choice.get(said), kind):
            return f"`choices[{position}]` is not an object with a `{said}`"
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


def error_body(error: Any, status: int) -> dict[str, Any]:
    """A worker's `error` as an OpenAI error object: what it lacks is filled in, what it has beside is kept."""
    given = error if isinstance(error, dict) else {"message": str(error)}
    known = {key: value for key, value in given.items() if value is not None}
    whole = {"message": "The worker reports an error.", "type": error_type(status), "param": None, "code": None} | known
    texts = {key: str(whole[key]) for key in ("message", "type") if not isinstance(whole[key], str)}
    if not isinstance(whole["param"], str | None):
        texts["param"] = str(whole["param"])
    if not isinstance(whole["code"], str | int | None) or isinstance(whole["code"], bool):
        texts["code"] = str(whole["code"])
    return {"error": whole | texts}


def _filled(reply: Mapping[str, Any], name: str, kind: str, model: str, created: int) -> dict[str, Any]:
    known = {key: value for key, value in reply.items() if value is not None}
    return {"id": name, "object": kind, "created": created, "model": model, **known}


def _head(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {key: whole[key] for key in ("id", "object", "created", "model")}


def _events(
    reply: Mapping[str, Any],
    head: Mapping[str, Any],
    parts: Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]],
    *,
    include_usage: bool,
) -> Iterator[bytes]:
    usage = {"usage": None} if include_usage else {}
    for position, choice in enumerate(reply["choices"]):
        for part in parts(choice):
            yield event({**head, "choices": [{"index": choice.get("index", position), **part}], **usage})
    if include_usage:
        yield event({**head, "choices": [], "usage": reply.get("usage")})
    yield DONE


def _text_parts(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    said = {"text": choice["text"], "logprobs": choice.get("logprobs")}
    yield said | {"finish_reason": choice.get("finish_reason") or "stop"}


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
