"""A Spider, written from the seed's worker protocol document alone: it imports nothing of Headrace."""

import asyncio
import json
from typing import Any

from websockets.asyncio.server import Server, ServerConnection


class Spider:
    def __init__(self) -> None:
        self.workers: asyncio.Queue[tuple[ServerConnection, dict[str, Any]]] = asyncio.Queue()

    async def accept(self, worker: ServerConnection) -> None:
        self.workers.put_nowait((worker, json.loads(await worker.recv())))
        await worker.wait_closed()

    async def ask(self, worker: ServerConnection, content: str, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}]
        request = {"model": "TheBloke/CoolModelv2:Q4_K_M", "messages": messages, **more}
        await worker.send(json.dumps({"openai_url": "/v1/chat/completion", "openai_req": request}))
        answer: dict[str, Any] = json.loads(await worker.recv())
        return answer


def url(server: Server | asyncio.Server) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
