"""How much a request asks of an engine, for fair shares: estimated before, known after.

The unit is the time of one prompt token. A token of the answer counts as two, as in Sheng et al. (OSDI 2024); tokens
that the engine had from earlier requests count for nothing.
"""

from collections import OrderedDict

from headrace_api.wire import Usage
from headrace_queue.exchange import Call

_BYTES_PER_TOKEN = 4
_COMPLETION = 2
_FIRST_GUESS = 128.0
"""Tokens of an answer, of a model that has given none."""
_GAIN = 0.05
_REMEMBERED = 4096


def known(usage: Usage) -> float:
    """The work of a request that is done."""
    return max(1.0, usage.prompt_tokens - usage.cached_tokens + _COMPLETION * usage.completion_tokens)


def guessed(call: Call, events: int) -> Usage | None:
    """What a stream has used of which so many events are known and nothing else; None where nothing is known."""
    if not events:
        return None
    prompt = len(call.raw) // _BYTES_PER_TOKEN
    return Usage(prompt_tokens=prompt, completion_tokens=events, total_tokens=prompt + events)


class Estimates:
    """How long each model's answers are on average."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, float] = OrderedDict()

    def work(self, call: Call) -> float:
        """Of a request: a quarter of its bytes, and an answer of the usual length if it may have that."""
        tokens = self._tokens.get(call.model, _FIRST_GUESS)
        if call.most_tokens is not None:
            tokens = min(tokens, call.most_tokens)
        return 1 + len(call.raw) / _BYTES_PER_TOKEN + _COMPLETION * tokens

    def learn(self, model: str, usage: Usage) -> None:
        """An answer is there."""
        before = self._tokens.get(model, _FIRST_GUESS)
        self._tokens[model] = before + _GAIN * (usage.completion_tokens - before)
        self._tokens.move_to_end(model)
        if len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)
