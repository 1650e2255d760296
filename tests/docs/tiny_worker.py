"""A worker written from docs/protocol.md alone: `python tiny_worker.py ws://HOST:PORT/worker [TOKEN]`. It echoes."""

import asyncio
import json
import struct
import sys

import websockets

REGISTER = {"type": "register", "worker": "tiny", "models": ["tiny"], "fingerprint": "1"}
MACHINE = {"cpu_count": 1, "disk_space": 1, "vram": 0}


def answer(request: dict) -> bytes:
    said = request["messages"][-1]["content"]
    if not request.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        return json.dumps(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice]}
        ).encode()
    choice = {"index": 0, "delta": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"


async def work(url: str, token: str = "") -> None:
    owed: dict[str, dict] = {}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async for socket in websockets.connect(url, subprotocols=["headrace.v1"], additional_headers=headers):
        try:
            await socket.send(json.dumps(REGISTER | MACHINE))
            async for frame in socket:
                messages = json.loads(frame)
                for message in messages if isinstance(messages, list) else [messages]:
                    await handle(socket, message, owed)
        except websockets.ConnectionClosed:
            continue


async def handle(socket: websockets.ClientConnection, message: dict, owed: dict[str, dict]) -> None:
    if message["type"] == "registered":
        await socket.send(json.dumps([*owed.values(), {"type": "credit", "n": 4}]))
    elif message["type"] == "ack":
        owed.pop(message["request_id"], None)
    elif message["type"] == "job":
        data = answer(message["openai_req"])
        await socket.send(struct.pack(">II", message["job"], len(data)) + data)
        kept = {key: message[key] for key in ("job", "request_id", "receipt")}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        owed[message["request_id"]] = {"type": "result", "usage": usage, **kept}
        await socket.send(json.dumps([owed[message["request_id"]], {"type": "credit", "n": 1}]))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:3]))
