"""The OpenAPI document of the public port, `GET /openapi.json`: made here, and held against the server by the tests.

It says what the queue itself checks. What else a request may have depends on the engine, so every object is open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from headrace_queue import request_ids
from headrace_queue.answer import ETA
from headrace_queue.keys.wishes import DEADLINE, PRIORITY
from headrace_queue.ledger.usage import SUMS
from headrace_queue.ledger.usage_api import USAGE_PATH
from headrace_queue.ledger.usage_query import DEFAULT_LIMIT, DIMENSIONS, FILTERS, MOST_ROWS
from headrace_queue.needs import HOSTING, MOST_CHARACTERS, MOST_TAGS, TAGS

Schema = Mapping[str, Any]

_MODEL: Schema = {"type": "string", "minLength": 1, "description": "A model, an alias, or `model:adapter`."}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["role"], "properties": {"role": {"type": "string"}}},
}
_STREAM: Schema = {"type": ["boolean", "null"], "description": "Server-sent events, or one object."}
_NO_STREAM: Schema = {"enum": [False, None], "description": "This path has no streams."}
_STREAM_OPTIONS: Schema = {"type": ["object", "null"], "description": "`include_usage`: tokens as the last event."}
_ANY: Schema = {"type": "object"}
_EVENT: Schema = {"type": "object", "properties": {"data": {"type": "string"}}}
"""One of a stream: a chunk of OpenAI's, an error, or at the end `[DONE]`."""
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
            },
        }
    },
}
_MODEL_OBJECT: Schema = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
_MODEL_LIST: Schema = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL_OBJECT}},
}
_REQUEST_ID: Schema = {
    "name": request_ids.HEADER,
    "in": "header",
    "description": "An id of the client's own; the answer has it, too.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,512}$"},
}
_REQUEST_ID_BACK: Schema = {request_ids.HEADER: {"required": True, "schema": {"type": "string"}}}
_LETTER = r"[!-+\--~\x80-\xff]"
"""Of a tag's name: all that a header may have but commas, and blanks within the name only."""
_TAG = rf"{_LETTER}(?:[\t -+\--~\x80-\xff]{{0,{MOST_CHARACTERS - 2}}}{_LETTER})?"
_TAGS: Schema = {
    "type": "string",
    "pattern": rf"^[\t ,]*(?:{_TAG}(?:[\t ]*,[\t ,]*{_TAG}){{0,{MOST_TAGS - 1}}}[\t ,]*)?$",
}
_HOSTING: Schema = {
    "type": "string",
    "pattern": rf"^[\t ]*(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]{{0,{MOST_CHARACTERS - 2}}}[!-~\x80-\xff])?[\t ]*)?$",
}


def _header(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


_WISHES: tuple[Schema, ...] = (
    _header(
        TAGS,
        f"What the worker must have registered with: {MOST_TAGS} tags at most of up to {MOST_CHARACTERS} characters, "
        "with commas between.",
        _TAGS,
    ),
    _header(HOSTING, f"The hosting that the worker must support, of up to {MOST_CHARACTERS} characters.", _HOSTING),
    _header(PRIORITY.decode(), "One of those that the key may have; else its highest.", {"type": "integer"}),
    _header(DEADLINE.decode(), "After so long nobody waits any more.", {"type": "number", "exclusiveMinimum": 0}),
)
"""What a request may ask of the queue itself."""
_LEFT: Schema = {
    f"x-ratelimit-{what}-{of}": {"description": f"Of a key with a limit on {of}.", "schema": {"type": kind}}
    for what, kind in (("limit", "integer"), ("remaining", "integer"), ("reset", "string"))
    for of in ("requests", "tokens")
}
_ETA_BACK: Schema = {
    ETA: {"description": "Of a stream that waits for a worker, where it is known.", "schema": {"type": "integer"}}
}
_MODEL_PARAMETER: Schema = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_GROUPS: Schema = {"type": "array", "items": {"enum": [*DIMENSIONS]}, "minItems": 1, "uniqueItems": True}
_USAGE_PARAMETERS = (
    _query("start", "The first day, in UTC; else 29 before the last.", type="string", format="date"),
    _query("end", "The last day, which counts, too; else today.", type="string", format="date"),
    {
        "name": "group_by",
        "in": "query",
        "description": "What is summed up apart; else day, key and model.",
        "explode": False,  # with commas between
        "schema": _GROUPS,
    },
    *(_query(name, f"Of one {name} only.", type="string", pattern="^[^\\x00]*$") for name in FILTERS),
    _query("limit", f"Rows; else {DEFAULT_LIMIT}, of CSV all.", type="integer", minimum=1, maximum=MOST_ROWS),
    _query("after", "The `next` of the answer before.", type="string"),
    _query("format", "Else what `Accept` begins with.", enum=["csv", "json"]),
)
_USAGE_ROW: Schema = {
    "type": "object",
    "required": ["object", *SUMS],
    "properties": {
        "object": {"const": "usage"},
        **{name: {"type": "string"} for name in DIMENSIONS},
        **{name: {"type": "integer", "minimum": 0} for name in SUMS},
        "gpu_seconds": {"type": "number", "minimum": 0},
    },
}
_USAGE: Schema = {
    "type": "object",
    "required": ["object", "start", "end", "data", "has_more"],
    "properties": {
        "object": {"const": "list"},
        "start": {"type": "string", "format": "date"},
        "end": {"type": "string", "format": "date"},
        "data": {"type": "array", "items": _USAGE_ROW},
        "has_more": {"type": "boolean"},
        "next": {"type": "string"},
    },
}


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    answer: Schema | None
    """What a good answer is in JSON; None for plain text."""
    fields: Mapping[str, Schema] | None = None
    """What a request's body may have beside `model`, which it must have; None where there is no body."""
    required: tuple[str, ...] = ()
    """Of `fields`."""
    streams: bool = False
    csv: bool = False
    """Whether a good answer may be CSV, too."""
    parameters: tuple[Schema, ...] = ()


_WHOLE = {"stream": _NO_STREAM, "stream_options": _STREAM_OPTIONS}
_STREAMED = {"stream": _STREAM, "stream_options": _STREAM_OPTIONS}

OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Answer a conversation",
        _ANY,
        {"messages": _MESSAGES, **_STREAMED},
        ("messages",),
        streams=True,
    ),
    Operation("post", "/v1/completions", "Go on with a text", _ANY, _STREAMED, streams=True),
    Operation("post", "/v1/embeddings", "Embed texts", _ANY, _WHOLE),
    Operation("post", "/tokenize", "Split a text into tokens", _ANY, _WHOLE),
    Operation("post", "/v1/tokenize", "The same as /tokenize", _ANY, _WHOLE),
    Operation("get", "/v1/models", "The models that there are", _MODEL_LIST, parameters=(_REQUEST_ID,)),
    Operation("get", "/v1/models/{model}", "One model", _MODEL_OBJECT, parameters=(_MODEL_PARAMETER, _REQUEST_ID)),
    Operation(
        "get", USAGE_PATH, "What was used, by key, model and day", _USAGE, csv=True, parameters=_USAGE_PARAMETERS
    ),
    Operation("get", "/healthz", "Whether the queue runs", None),
    Operation("get", "/readyz", "Whether the queue takes requests", None),
    Operation("get", "/openapi.json", "This document", _ANY),
)
"""What the public port answers with, apart from the workers' WebSocket."""


def document() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace queue", "version": _version()},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(each: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": each.summary, "responses": _responses(each)}
    parameters = [*each.parameters, *((_REQUEST_ID, *_WISHES) if each.fields is not None else ())]
    if parameters:
        found["parameters"] = parameters
    if each.fields is not None:
        body = {
            "type": "object",
            "required": ["model", *each.required],
            "properties": {"model": _MODEL, **each.fields},
        }
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if each.path.startswith("/v1/") or each.fields is not None:
        found["security"] = [{"key": []}, {}]  # a queue without keys serves everybody
    return found


def _responses(each: Operation) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    headers = {**_REQUEST_ID_BACK, **(_LEFT if each.fields is not None else {})}
    if each.answer is None:
        text = {"text/plain": {"schema": {"type": "string"}}}
        states = {"200": "It does.", "503": "It does not, and why."}
        found: dict[str, Any] = {
            status: {"description": words, "headers": headers, "content": text} for status, words in states.items()
        }
        wrong = {"4XX": "The request cannot be answered."}
    else:
        content: dict[str, Any] = {"application/json": {"schema": each.answer}}
        if each.streams:
            content["text/event-stream"] = {"schema": _EVENT}
        if each.csv:
            content["text/csv"] = {"schema": {"type": "string"}}
        more = _ETA_BACK if each.streams else {}
        found = {"200": {"description": "The answer.", "headers": {**headers, **more}, "content": content}}
        wrong = {"4XX": "The request cannot be answered.", "5XX": "Nobody could answer it."}
    for status, words in wrong.items():
        said = {**headers, "retry-after": {"schema": {"type": "integer"}}}
        found[status] = {"description": words, "headers": said, "content": {"application/json": {"schema": error}}}
    return found


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:  # run from its source
        return "0"
