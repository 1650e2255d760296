"""Two whole workers with real engines behind a real queue: the one that streams is killed in the middle."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.worker.fleet import queue_process
from tests.worker.test_llamacpp_worker import START_S, text_of
from tests.worker.test_vllm_worker import GENERATOR as VLLM
from tests.worker.test_vllm_worker import START_S as VLLM_START_S
from tests.worker.test_vllm_worker import vllm_python
from tests.worker.worker_process import GGUF, WorkerProcess, worker

pytestmark = pytest.mark.engine
__all__ = ["vllm_python"]

LLAMACPP = {
    "type": "LlamaCppEngine",
    "model_id": str(GGUF),
    "max_total_tokens": 1024,
    "engine_kwargs": {"n_threads": 1},
}
CHAT = ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Tell me of the world series."}]})
COMPLETION = ("/v1/completions", {"prompt": "The world series"})
ASKED = {"model": "public-name", "stream": True, "temperature": 0, "max_tokens": 900, "ignore_eos": True}
Case = tuple[str, dict[str, Any]]
_TRIES = 40
"""Where engine and its server share two cores, two answers of three come all at once when they are complete."""
_SURE = 4
"""Characters that have come before the worker is killed."""


async def streamed(url: str, case: Case, in_the_middle: Callable[[], Awaitable[None]] | None = None) -> bytes:
    path, ask = case
    data = b""
    body = {**ASKED, **ask, "stream_options": {"include_usage": True}}
    async with aiohttp.ClientSession() as http, http.post(url + path, json=body) as response:
        assert response.status == 200, await response.text()
        async for some in response.content.iter_any():
            data += some
            if in_the_middle and data.count(b"\n\n") > 10:
                await in_the_middle()
                in_the_middle = None
    assert in_the_middle is None, "the answer was complete before"
    return data


def text(stream: bytes) -> str:
    if b'"delta"' in stream:
        return text_of(stream)
    events = [json.loads(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n")[:-2]]
    return "".join(choice["text"] for event in events for choice in event["choices"])


def usage(stream: bytes) -> tuple[int, int]:
    told = json.loads(stream.split(b"\n\n")[-3].removeprefix(b"data: "))["usage"]
    return told["prompt_tokens"], told["completion_tokens"]


async def kill_the_busy_one(workers: list[WorkerProcess]) -> None:
    """None, if the answer is complete by now."""
    pages = await asyncio.gather(*(one.probe("/metrics") for one in workers))
    for number in [number for number, (_, page) in enumerate(pages) if "requests_in_flight 1.0" in page]:
        workers.pop(number).process.kill()


async def is_continued(
    folder: Path, generator: dict[str, Any], case: Case, start_s: float, same: bool = True, **environment: str
) -> None:
    """`same`: whether the text so far stands for the tokens so far, wherever it breaks off."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(queue_process())
        workers: list[WorkerProcess] = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            started = await stack.enter_async_context(worker(folder / name, url, generator, **environment))
            await started.until_ready(start_s)
            workers.append(started)
        undisturbed = await streamed(url, case)
        disturbed, tries = b"", 0
        while len(workers) == 2 and (tries := tries + 1) < _TRIES:
            disturbed = await streamed(url, case, lambda: kill_the_busy_one(workers))
        assert len(workers) == 1
        assert b'"error"' not in disturbed
        assert disturbed.count(b"data: [DONE]") == 1
        assert disturbed.endswith(b"data: [DONE]\n\n")
        assert text(disturbed).startswith(text(undisturbed)[:_SURE])
        assert not same or text(disturbed) == text(undisturbed)
        assert usage(disturbed)[1] == usage(undisturbed)[1]
        assert abs(usage(disturbed)[0] - usage(undisturbed)[0]) <= 1  # as the text so far may become other tokens


@pytest.mark.parametrize("case", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_llamacpp(tmp_path: Path, case: Case) -> None:
    await is_continued(tmp_path, LLAMACPP, case, START_S)


@pytest.mark.vllm
@pytest.mark.parametrize("case", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_vllm(tmp_path: Path, vllm_python: str, case: Case) -> None:
    # Its tokenizer makes others of a text that breaks off within a word. And the model ends its completion early; with
    # `ignore_eos` it goes on after tokens without text, which are lost.
    await is_continued(tmp_path, VLLM, case, VLLM_START_S, same=False, HEADRACE_VLLM_PYTHON=vllm_python)
