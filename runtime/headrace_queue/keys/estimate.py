"""Guesses how many tokens a request will use, from what the same key's requests have used. Pure.

The mean is what makes a limit on tokens accurate: reserving the most that an answer may have (`max_tokens`) refuses
requests that would have fitted, since most answers end long before.
"""

from collections.abc import Mapping
from typing import Any

from headrace_api.wire import Usage
from headrace_queue.exchange import Call

_TOKENS_PER_BYTE = 0.25
_COMPLETION_TOKENS = 256.0
_LEARNING = 0.05
_WITHOUT_ANSWER = frozenset({"/v1/embeddings", "/tokenize"})
_WITHOUT_TOKENS = "/tokenize"


class Guess:
    """What one key's requests use on average."""

    __slots__ = ("_completion", "_per_byte", "_seen")

    def __init__(self) -> None:
        self._per_byte = _TOKENS_PER_BYTE
        self._completion = _COMPLETION_TOKENS
        self._seen = 0

    def tokens(self, call: Call) -> float:
        """Of the prompt and of the answer, which has at most what the client has said."""
        prompt = self.prompt(call)
        if call.openai_url in _WITHOUT_ANSWER:
            return prompt
        most = call.most_tokens
        return prompt + (self._completion if most is None else min(self._completion, most))

    def prompt(self, call: Call) -> float:
        """Of the prompt."""
        return 0.0 if call.openai_url == _WITHOUT_TOKENS else max(self._per_byte * len(call.raw), 1.0)

    def learn(self, call: Call, usage: Usage) -> None:
        """A request has ended."""
        self._seen += 1
        rate = max(1 / self._seen, _LEARNING)
        self._per_byte += (usage.prompt_tokens / max(len(call.raw), 1) - self._per_byte) * rate
        if call.openai_url not in _WITHOUT_ANSWER:
            self._completion += (usage.completion_tokens - self._completion) * rate


def most_tokens(body: Mapping[str, Any]) -> int | None:
    """What a request's answers may have at most; None where it does not say, or not in whole numbers."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = body.get("n") or 1
    return most * choices if isinstance(most, int) and isinstance(choices, int) and most > 0 < choices else None
