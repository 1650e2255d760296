"""What to ask another worker when one is lost in the middle of a stream, and how to put the two streams together.

Pure. The text that the client has already becomes the beginning of the assistant's message (`continue_final_message`,
as vLLM has it) or the end of the prompt, and the next worker says the rest. That is done only where it gives the answer
that one worker would have given: a request with tools, several choices, log probabilities or a prescribed form, or one
whose answer has begun with reasoning or a call of a tool, is not continued, for no engine takes up such an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic_core import from_json, to_json

from headrace_api.wire import Usage
from headrace_queue import sse
from headrace_queue.sse import DONE

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
PATHS = (CHAT, COMPLETIONS)
"""Where streams are that can be continued."""

_END = b"\n\n"
_DONE = DONE.rstrip()
_HARMLESS = frozenset({
    "cache_prompt", "chat_template_kwargs", "frequency_penalty", "ignore_eos", "logit_bias", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "min_p", "model", "presence_penalty", "prompt", "repetition_penalty",
    "safety_identifier", "seed", "service_tier", "stop", "stop_token_ids", "store", "stream", "stream_options",
    "temperature", "top_k", "top_p", "user",
})  # fmt: skip
"""What may be asked for in a request that is continued."""
_AS_GOOD_AS_NOTHING: Mapping[str, Any] = {
    "n": 1, "best_of": 1, "echo": False, "logprobs": False, "tools": [], "response_format": {"type": "text"},
    "parallel_tool_calls": True, "tool_choice": "none",
}  # fmt: skip
"""Anything else must be null or, for some, this."""
_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Again:
    """The next worker must be asked this."""

    raw: bytes
    continued: bool
    """Whether it holds the beginning of the answer; otherwise nothing had been said, and it is the client's own."""
    stitch: "Stitch"


@dataclass(frozen=True)
class Over:
    """Nothing is missing but the end of the stream."""

    data: bytes


@dataclass
class _Told:
    """What a client knows of its answer."""

    head: dict[str, Any] | None = None
    """The fields that all chunks have in common."""
    text: str = ""
    tokens: int = 0
    """At least: a choice with text, reasoning or calls of tools has one or more."""
    finish: str | None = None
    usage: Any = None
    has_role: bool = False
    strange: bool = False
    """Whether there is something that no continuation could follow."""


def resumed(openai_url: str, raw: bytes, events: list[bytes]) -> Again | Over | None:
    """How to go on with a stream of which the client has these whole events; None where that is impossible."""
    body: dict[str, Any] = from_json(raw)
    told = _read(openai_url, events)
    if told.strange or not _can_be_continued(openai_url, body):
        return None
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    stitch = Stitch(told.head, has_role=told.has_role, tokens=told.tokens)
    if told.finish is None and told.text:
        left = _limited(body, told.tokens)
        if left is None:
            told.finish = "length"
            return _over(openai_url, told, wants_usage=wants_usage, said=False)
        return Again(to_json(_continued(openai_url, left, told.text)), continued=True, stitch=stitch)
    if told.finish is None:
        return Again(raw, continued=False, stitch=stitch)
    return _over(openai_url, told, wants_usage=wants_usage, said=True)


def usage_in(openai_url: str, events: list[bytes]) -> Usage:
    """What these events say that the answer used; where they do not, how many tokens they have at least."""
    told = _read(openai_url, events)
    return sse.usage_of(told.usage) or Usage(completion_tokens=told.tokens, total_tokens=told.tokens)


def _can_be_continued(openai_url: str, body: Mapping[str, Any]) -> bool:
    if openai_url == COMPLETIONS and not isinstance(body.get("prompt"), str):
        return False
    if openai_url == CHAT and (body.get("messages") or [{}])[-1].get("role") == "assistant":
        return False  # it is a continuation already: the client's own
    return all(
        name in _HARMLESS or value is None or (name in _AS_GOOD_AS_NOTHING and value == _AS_GOOD_AS_NOTHING[name])
        for name, value in body.items()
    )


def _limited(body: dict[str, Any], tokens: int) -> dict[str, Any] | None:
    """The request for what may still be said; None if that is nothing."""
    limits = {name: body[name] - tokens for name in _LIMITS if isinstance(body.get(name), int)}
    return None if any(limit <= 0 for limit in limits.values()) else body | limits


def _continued(openai_url: str, body: dict[str, Any], text: str) -> dict[str, Any]:
    if openai_url == COMPLETIONS:
        return body | {"prompt": body["prompt"] + text}
    messages = [*body["messages"], {"role": "assistant", "content": text}]
    return body | {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}


def _over(openai_url: str, told: _Told, *, wants_usage: bool, said: bool) -> Over | None:
    """What is missing when all has been said; `said`: the client knows why the answer ended."""
    if wants_usage and told.usage is None:
        return None  # no engine has counted, and the client was promised that
    events = [] if said else [_event({**(told.head or {}), "choices": [_finish(openai_url, told.finish)]})]
    return Over(b"".join([*events, DONE]))


def _finish(openai_url: str, reason: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"delta": {}} if openai_url == CHAT else {"text": ""}
    return {"index": 0, **said, "finish_reason": reason}


def _read(openai_url: str, events: list[bytes]) -> _Told:
    told = _Told()
    for event in events:
        if event == _DONE:
            told.strange = True  # it is complete, so that nobody should ask
        elif event.startswith(b"data:"):
            _take(openai_url, told, event)
        elif not event.startswith(b":"):
            told.strange = True
    return told


def _take(openai_url: str, told: _Told, event: bytes) -> None:
    chunk = _chunk(event)
    if chunk is None:
        told.strange = True
        return
    told.head = told.head or {key: value for key, value in chunk.items() if key not in {"choices", "usage"}}
    told.usage = chunk.get("usage") or told.usage
    for choice in chunk["choices"]:
        said = (choice.get("delta") if openai_url == CHAT else {"content": choice.get("text")}) or {}
        known = {key: value for key, value in said.items() if value} if isinstance(said, dict) else {"delta": said}
        told.has_role |= bool(known.pop("role", None))
        content = known.pop("content", "")
        told.strange |= bool(known) or choice.get("index", 0) != 0 or not isinstance(content, str)
        told.tokens += bool(content or known)
        if content and not told.strange:
            told.text += content
        told.finish = choice.get("finish_reason") or told.finish


def _chunk(event: bytes) -> dict[str, Any] | None:
    try:
        chunk = from_json(event.removeprefix(b"data:").strip())
    except ValueError:
        return None
    known = isinstance(chunk, dict) and isinstance(chunk.get("choices"), list)
    return chunk if known and all(isinstance(choice, dict) for choice in chunk["choices"]) else None


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + to_json(chunk) + _END


@dataclass
class Stitch:
    """Makes the next worker's stream the rest of the first one's."""

    head: dict[str, Any] | None
    """The first stream's id, time and so on; None where it had said nothing."""
    has_role: bool = False
    tokens: int = 0
    """That the client had before."""
    _rest: bytes = field(default=b"", init=False)

    def feed(self, data: bytes) -> bytes:
        """The bytes for the client: whole events only."""
        data = self._rest + data
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            self._rest = data
            return b""
        self._rest = data[end:]
        return b"".join(map(self._rewritten, data[: end - len(_END)].split(_END)))

    def _rewritten(self, event: bytes) -> bytes:
        chunk = _chunk(event) if event.startswith(b"data:") and event != _DONE else None
        if chunk is None:
            return event + _END
        if self._repeats_role(chunk):
            return b""
        for choice in chunk["choices"]:
            if self.has_role and isinstance(choice.get("delta"), dict):
                choice["delta"].pop("role", None)
        if chunk.get("usage"):
            chunk["usage"] = self._summed(chunk["usage"])
        return _event({**chunk, **(self.head or {})})

    def _repeats_role(self, chunk: Mapping[str, Any]) -> bool:
        """Whether all that it says is who speaks, which the client knows."""
        if not self.has_role or len(chunk["choices"]) != 1 or chunk.get("usage"):
            return False
        choice = chunk["choices"][0]
        delta = choice.get("delta")
        only_role = isinstance(delta, dict) and {key for key, value in delta.items() if value} == {"role"}
        return only_role and not choice.get("finish_reason")

    def _summed(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The second engine's prompt ends in what was the first one's answer."""
        try:
            prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return usage
        if min(prompt, completion) < 0:
            return usage
        return usage | {
            "prompt_tokens": max(0, prompt - self.tokens),  # of an estimate it is 0
            "completion_tokens": completion + self.tokens,
        }

    def usage(self, told: Usage | None) -> Usage | None:
        """What the whole answer used, from what the last worker has told."""
        if told is None:
            return None
        return Usage(**self._summed(msgspec.structs.asdict(told)))
