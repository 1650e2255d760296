"""Clients that keep a queue busy and judge each answer: complete, failed with a clear error, or neither."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import aiohttp

QUESTION = "Who won the world series in 2020?"
PATIENCE_S = 90.0
Kind = Literal["complete", "failed", "truncated", "unclear", "hung"]


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    kind: Kind
    stream: bool
    detail: str = ""
    code: str = ""
    begun: bool = False
    """Whether the client had seen a part of the answer: such a request cannot be given to another worker."""


def of_stream(status: int, text: str) -> Answer:
    """A stream is complete with a reason to finish and `[DONE]`; it may end with an error event instead."""
    if status != 200:
        return of_error(status, text, stream=True)
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    bodies = [json.loads(event) for event in events if event != "[DONE]"]
    errors = [json.dumps(body) for body in bodies if "error" in body]
    if errors:
        return replace(of_error(status, errors[-1], stream=True), begun="error" not in bodies[0])
    finished = any(choice.get("finish_reason") for body in bodies for choice in body["choices"])
    done = bool(events) and events[-1] == "[DONE]"
    return Answer("complete" if finished and done else "truncated", stream=True, detail=text[-300:])


def of_whole(status: int, text: str) -> Answer:
    """An answer in one piece has a choice with a reason to finish."""
    if status != 200:
        return of_error(status, text, stream=False)
    try:
        finished = json.loads(text)["choices"][0]["finish_reason"]
    except (ValueError, LookupError):
        finished = None
    return Answer("complete" if finished else "truncated", stream=False, detail=text[-300:])


def of_error(status: int, text: str, *, stream: bool) -> Answer:
    """An error is clear when it is OpenAI's object with a message and a code."""
    try:
        error = json.loads(text)["error"]
        clear = bool(error["message"]) and bool(error["code"])
    except (ValueError, LookupError, TypeError):
        error, clear = {}, False
    code = str(error.get("code", ""))
    return Answer("failed" if clear else "unclear", stream, f"{status}: {text[-300:]}", code)


@dataclass
class Clients:
    """`count` clients that each ask again soon after they have an answer."""

    url: str
    model: str
    seed: int
    count: int = 6
    pause_s: float = 0.1
    """Between an answer and the next question, so that engines and clients can share a small machine."""
    answers: list[Answer] = field(default_factory=list)
    stopping: bool = False

    def tally(self) -> Counter[str]:
        """How many answers there are of each kind."""
        return Counter(answer.kind for answer in self.answers)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["Clients"]:
        """Ask while the block runs, then wait for every answer."""
        tasks = [asyncio.create_task(self._ask_on(random.Random(f"{self.seed}/{n}"))) for n in range(self.count)]  # noqa: S311 (no secret)
        try:
            yield self
            self.stopping = True
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_on(self, chance: random.Random) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as http:
            while not self.stopping:
                body = {
                    "model": self.model,
                    "messages": [{"role": "user", "content": QUESTION}],
                    "stream": chance.random() < 0.7,
                    "ignore_eos": True,
                    "max_tokens": chance.randint(5, 200),
                }
                self.answers.append(await self._ask(http, body))
                await asyncio.sleep(self.pause_s)

    async def _ask(self, http: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        stream = bool(body["stream"])
        try:
            async with http.post(f"{self.url}/v1/chat/completions", json=body) as response:
                text = await response.text()
                return of_stream(response.status, text) if stream else of_whole(response.status, text)
        except TimeoutError:
            return Answer("hung", stream, f"no answer within {PATIENCE_S:.0f} s")
        except aiohttp.ClientError as error:
            return Answer("truncated", stream, f"{type(error).__name__}: {error}")
