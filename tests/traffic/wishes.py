"""What clients ask for: drawn from a seed, so that a run can be had again."""

import random
from dataclasses import dataclass, field
from typing import Any

from tests.traffic.models import CHAT, EMBEDDER, SLEEPER

QUESTION = "Who won the world series in 2020?"
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
"""The sample model has learned it by heart."""
DIMENSIONS = 384
_PATH = "/v1/chat/completions"
_LEAVES = 0.06
_OWN_ID = 0.25


@dataclass(frozen=True)
class Wish:
    """One request."""

    kind: str
    path: str
    body: dict[str, Any]
    text: str = ""
    """The whole answer, where it is known beforehand."""
    leaves: bool = False
    """Whether its client leaves in the middle of the stream."""
    continuable: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def chat(chance: random.Random) -> Wish:
    """Of the model with two workers: streams and whole answers, short ones with a known text and long ones."""
    return _chat(chance, CHAT, stream=chance.random() < 0.65, known=chance.random() < 0.4)


def sleeper(chance: random.Random) -> Wish:
    """Of the model that sleeps."""
    return _chat(chance, SLEEPER, stream=chance.random() < 0.5, known=chance.random() < 0.7)


def embedder(chance: random.Random) -> Wish:
    """Some texts to embed."""
    texts = [f"Text number {chance.randrange(10**6)}." for _ in range(chance.randint(1, 4))]
    return Wish("embeddings", "/v1/embeddings", {"model": f"traffic/{EMBEDDER}", "input": texts}, headers=_own(chance))


def known(model: str = SLEEPER, *, stream: bool = False) -> Wish:
    """A question whose answer is known."""
    kind = "chat stream" if stream else "chat"
    return Wish(kind, _PATH, _question(model, stream=stream), ANSWER, continuable=stream)


def _chat(chance: random.Random, model: str, *, stream: bool, known: bool) -> Wish:
    own = _own(chance)
    body = _question(model, stream=stream)
    if not known:
        body |= {"ignore_eos": True, "max_tokens": chance.randint(100, 500)}
    kind = f"{'' if known else 'long '}chat"
    if not stream:
        return Wish(kind, _PATH, body, ANSWER if known else "", headers=own)
    with_logprobs = not known and chance.random() < 0.2  # which no other worker can go on with
    body |= {"logprobs": True} if with_logprobs else {}
    leaves = not known and chance.random() < _LEAVES / 0.4
    kind = f"{kind} stream{' with logprobs' if with_logprobs else ''}{', left' if leaves else ''}"
    text = ANSWER if known else ""
    return Wish(kind, _PATH, body, text, leaves, not with_logprobs, own)


def _question(model: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    body = {"model": f"traffic/{model}", "messages": messages, "temperature": 0, "max_tokens": 60}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


def _own(chance: random.Random) -> dict[str, str]:
    return {"x-request-id": f"own-{chance.randrange(10**12)}"} if chance.random() < _OWN_ID else {}
