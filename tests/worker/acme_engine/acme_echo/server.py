"""The engine itself: OpenAI's chat and completions, each word of the answer an event of its own."""

import argparse
import itertools
import json
from typing import Any

from aiohttp import web


class Echo:
    """Says the last message, or the prompt, up to `max_tokens` words and to the first `stop`."""

    def __init__(self, name: str, say_first: str, max_words: int) -> None:
        self._name = name
        self._first = say_first.split()
        self._most = max_words
        self._served = itertools.count(1)
        self._requests = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request, streamed or whole."""
        asked = await request.json()
        chat = "messages" in asked
        told = str(asked["messages"][-1]["content"] if chat else asked["prompt"]).split()
        if len(told) > self._most:
            message = f"{len(told)} words are more than {self._most}"
            return web.json_response({"error": {"message": message, "code": "context_length_exceeded"}}, status=400)
        self._requests = next(self._served)
        words = self._words(told, asked)
        usage = {"prompt_tokens": len(told), "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        if asked.get("stream"):
            return await self._stream(request, words, usage, chat=chat)
        text = " ".join(words)
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        body = {"model": self._name, "choices": [{"index": 0, **said, "finish_reason": "stop"}], "usage": usage}
        return web.json_response(body)

    def _words(self, told: list[str], asked: dict[str, Any]) -> list[str]:
        stops = asked.get("stop") or []
        most = asked.get("max_tokens") or self._most
        said = [*self._first, *told][:most]
        return list(itertools.takewhile(lambda word: word not in stops, said))

    async def _stream(
        self, request: web.Request, words: list[str], usage: dict[str, int], *, chat: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(words):
            text = word if number == 0 else f" {word}"
            said: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
            await self._event(response, {"choices": [{"index": 0, **said, "finish_reason": None}]})
        last = {"delta": {}} if chat else {"text": ""}
        await self._event(response, {"choices": [{"index": 0, **last, "finish_reason": "stop"}]})
        await self._event(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _event(self, response: web.StreamResponse, body: dict[str, Any]) -> None:
        await response.write(f"data: {json.dumps({'model': self._name, **body})}\n\n".encode())

    async def health(self, _request: web.Request) -> web.Response:
        """It is well as long as it answers."""
        return web.Response()

    async def metrics(self, _request: web.Request) -> web.Response:
        """In Prometheus' text form."""
        return web.Response(text=f"# TYPE echo_requests counter\necho_requests_total {self._requests}\n")


def main() -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("--say-first", default="")
    parser.add_argument("--max-words", type=int, default=1000)
    given = parser.parse_args()
    echo = Echo(given.name, given.say_first, given.max_words)
    app = web.Application()
    app.router.add_get("/health", echo.health)
    app.router.add_get("/metrics", echo.metrics)
    app.router.add_post("/v1/chat/completions", echo.answer)
    app.router.add_post("/v1/completions", echo.answer)
    web.run_app(app, host="127.0.0.1", port=given.port, print=None)


if __name__ == "__main__":
    main()
