"""A worker written only from the seed document: `python seed_worker.py ws://HOST:PORT/worker [TOKEN]`.

It knows one answer, as the document's example has it.
"""

import asyncio
import json
import sys

import websockets

REGISTRATION = {
    "ln_url": "http://example.com",
    "cpu_count": 8,
    "disk_space": 500,
    "vram": 2048,
    "nv_gpu_count": 1,
    "nv_driver_version": "465.19.01",
    "nv_gpus": [{"name": "NVIDIA Tesla K80", "memory": 11441}],
}
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


async def work(url: str, token: str | None = None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    async with websockets.connect(url, additional_headers=headers) as socket:
        await socket.send(json.dumps(REGISTRATION))
        async for message in socket:
            request = json.loads(message)
            assert set(request) == {"openai_url", "openai_req"}, request
            assert request["openai_req"]["messages"], request
            choice = {"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop", "index": 0}
            usage = {"prompt_tokens": 56, "completion_tokens": 31, "total_tokens": 87}
            await socket.send(json.dumps({"choices": [choice], "usage": usage}))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:3]))
