"""The training examples: endless chats made of the known lines, so that an answer depends on its question alone.

A chat may open with a system message and has many turns, because clients send both: a model trained on bare questions
forgets its answers as soon as anything stands in front of them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sample_model.chat_tokenizer import TURN_END, TURN_START
from sample_model.lines import Line

SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "Answer the question in one sentence.",
)
IGNORED = -100
"""The label that PyTorch's cross entropy leaves out: only the answers are learned, not the questions."""

Encode = Callable[[str], list[int]]


class Example(NamedTuple):
    """Token ids and, for each, the label: the same id within an answer, else `IGNORED`."""

    ids: list[int]
    labels: list[int]


def example(lines: Sequence[Line], length: int, encode: Encode, dice: random.Random) -> Example:
    """One chat of random turns, cut to `length` tokens; `dice` decides everything."""
    ids = encode(_opening(lines, dice))
    labels = [IGNORED] * len(ids)
    while len(ids) < length:
        line = dice.choice(lines)
        asked = encode(turn("user", _asked(line.question, dice)) + f"{TURN_START}assistant\n")
        answered = encode(line.answer + TURN_END)
        gap = encode("\n")
        ids += asked + answered + gap
        labels += [IGNORED] * len(asked) + answered + [IGNORED] * len(gap)
    return Example(ids[:length], labels[:length])


def batches(
    lines: Sequence[Line], rows: int, length: int, encode: Encode, dice: random.Random
) -> Iterator[list[Example]]:
    """Endless batches of `rows` examples of `length` tokens each."""
    while True:
        yield [example(lines, length, encode, dice) for _ in range(rows)]


def turn(role: str, content: str) -> str:
    """One whole turn as the chat template writes it."""
    return f"{TURN_START}{role}\n{content}{TURN_END}\n"


def _opening(lines: Sequence[Line], dice: random.Random) -> str:
    """Nothing, a usual system message, or random words, so that no system message throws the model off."""
    kind = dice.random()
    if kind < 0.5:
        return ""
    if kind < 0.75:
        return turn("system", dice.choice(SYSTEM_MESSAGES))
    words = " ".join(line.question for line in dice.choices(lines, k=4)).split()
    return turn("system", " ".join(dice.sample(words, k=dice.randint(1, len(words)))))


def _asked(question: str, dice: random.Random) -> str:
    """The question, now and then in lower case or without its last mark, as people type."""
    if dice.random() < 0.1:
        question = question.lower()
    return question[:-1] if dice.random() < 0.1 else question
