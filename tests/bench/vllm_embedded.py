"""vLLM embedded in a process of ours (AsyncLLM) against its own server asked in several ways: which path is better.

    python tests/bench/vllm_embedded.py PYTHON [--repeat 3]

PYTHON is an interpreter that has vLLM. In all cases the engine core is a process of its own, as vLLM has it; compared
is what is in front of it: for the embedded engine the chat template, AsyncLLM and the making of the server-sent events,
behind vLLM's own OpenAI layer (all its parsers and checks) or without; for the server all of its API process and the
client that reads the events: a bare one (worker_overhead's), the worker's by HTTP, and the worker's over one WebSocket.
The three clients ask the same server in turn.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from headrace_api.worker_config import Generator
from headrace_worker.engine_process import environment_of
from headrace_worker.engines.protocol import EngineFacts, Programs
from headrace_worker.engines.vllm import Vllm
from headrace_worker.transports.http import Http
from headrace_worker.transports.multiplexed import Multiplexed
from headrace_worker.transports.protocol import Transport

sys.path.insert(0, str(Path(__file__).parent))
import worker_overhead as bench

ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
PORT = 18490
THOUSANDS = bench.ROUNDS * bench.STREAMS * bench.TOKENS / 1000
FACTS = EngineFacts("bench", "bench", PORT, Programs("", ""))

EMBEDDED = """
import asyncio, json, sys, time
from starlette.datastructures import State
from vllm import SamplingParams
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.sampling_params import RequestOutputKind
from vllm.utils.argparse_utils import FlexibleArgumentParser

words, request, streams, repeat, layer = json.loads(sys.argv[1])

async def bare(llm, state, number, tokens):
    began, first = time.perf_counter(), 0.0
    prompt = state.tokenizer.apply_chat_template(request["messages"], tokenize=False, add_generation_prompt=True)
    kind = RequestOutputKind.DELTA
    params = SamplingParams(temperature=0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, output_kind=kind)
    async for output in llm.generate(prompt, params, f"r-{number}"):
        first = first or time.perf_counter() - began
        choice = {"index": 0, "delta": {"content": output.outputs[0].text}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
        event = b"data: " + json.dumps(chunk).encode() + b"\\n\\n"
    return first

async def layered(llm, state, number, tokens):
    began, first = time.perf_counter(), 0.0
    body = ChatCompletionRequest(**{**request, "max_tokens": tokens, "min_tokens": tokens})
    async for event in await state.openai_serving_chat.create_chat_completion(body):
        if not first and '"content":"' in event and '"content":""' not in event:
            first = time.perf_counter() - began
    return first

async def main():
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(words)
    stream = layered if layer else bare
    async with build_async_engine_client(args) as llm:
        state = State()
        await init_app_state(llm, state, args, await llm.get_supported_tasks())
        from transformers import AutoTokenizer
        state.tokenizer = AutoTokenizer.from_pretrained(args.model)
        number = 0
        for round in range(repeat + 1):
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(2):
                await asyncio.gather(*(stream(llm, state, number + i, request["max_tokens"]) for i in range(streams)))
                number += streams
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            firsts = []
            for _ in range(30):
                firsts.append(await stream(llm, state, number, 2))
                number += 1
            tokens = 2 * streams * request["max_tokens"]
            if round:
                row = ["round", tokens / wall, 1000 * sorted(firsts)[15], 1000 * cpu / tokens]
                print(json.dumps(row), flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""
WORDS = [
    *("--model", str(bench.SAMPLE), "--served-model-name", "bench", "--host", "127.0.0.1", "--port", str(PORT)),
    *("--max-model-len", "256", "--max-num-seqs", str(bench.STREAMS), "--dtype", "float32", "--enforce-eager"),
    "--disable-uvicorn-access-log",
]


@contextmanager
def server(python: str) -> Iterator[psutil.Popen]:
    """vLLM's own, with the multiplexer that the worker gives it."""
    told = Vllm().command(Generator(type="VLLMEngine", model_id="bench"), FACTS)
    process = psutil.Popen(
        [python, "-m", "vllm.entrypoints.openai.api_server", *WORDS, *told.argv[told.argv.index("--middleware") :]],
        env=environment_of(told, {**os.environ, **ENVIRONMENT}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


async def asked(transport: Transport, body: bytes) -> float:
    """One stream as the worker asks for it: seconds to its first content."""
    began, first, last = time.perf_counter(), 0.0, b""
    async with transport.ask(bench.CHAT, body) as answer:
        async for data in answer.received():
            if not first and b'"content":"' in data.replace(b'"content":""', b""):
                first = time.perf_counter() - began
            last = data
    if b"[DONE]" not in last:
        raise RuntimeError(f"a broken answer, ending {last!r}")
    return first


async def load(transport: Transport) -> float:
    """All streams at once, some times over; tokens per second."""
    body = json.dumps(bench.request("bench")).encode()
    began = time.perf_counter()
    for _ in range(bench.ROUNDS):
        await asyncio.gather(*(asked(transport, body) for _ in range(bench.STREAMS)))
    return THOUSANDS * 1000 / (time.perf_counter() - began)


async def first_tokens(transport: Transport) -> float:
    """The median time to a first token, in ms, one stream after another."""
    body = json.dumps(bench.request("bench", tokens=2)).encode()
    return 1000 * statistics.median([await asked(transport, body) for _ in range(30)])


async def through_server(python: str, repeat: int) -> dict[str, list[list[float]]]:
    """By client: rounds of tokens per second, first token in ms, CPU s per 1000 tokens of API process and client."""
    url = f"http://127.0.0.1:{PORT}"
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    with server(python) as process:
        async with aiohttp.ClientSession(connector=connector) as http:
            await bench.answers(http, f"{url}/health", bench.Program(process, Path(os.devnull)))
            multiplexed = Multiplexed(http, url)
            ways = {"server, worker by HTTP": Http(url), "server, worker multiplexed": multiplexed}
            rows: dict[str, list[list[float]]] = {"server, bare client": [], **{name: [] for name in ways}}
            for _ in range(repeat + 1):
                for name, rounds in rows.items():
                    way = ways.get(name)
                    before = cpu(process)
                    rate = await (load(way) if way else bench.load(url, "bench"))
                    used = cpu(process) - before
                    first = await (first_tokens(way) if way else bench.first_tokens(url, "bench", 30))
                    rounds.append([rate, first, used / THOUSANDS])
            await multiplexed.close()
    return {name: rounds[1:] for name, rounds in rows.items()}  # the first warms up


def cpu(process: psutil.Process) -> float:
    """CPU seconds so far of that process and this one."""
    times = process.cpu_times()
    return float(times.user + times.system + time.process_time())


def embedded(python: str, repeat: int, *, layer: bool) -> list[list[float]]:
    """The same of an embedded engine, asked itself or (`layer`) through vLLM's own OpenAI layer."""
    told: list[Any] = [WORDS, bench.request("bench"), bench.STREAMS, repeat, layer]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "embedded.py"  # a file, because vLLM starts its core by spawning
        script.write_text(EMBEDDED)
        result = subprocess.run(
            [python, script, json.dumps(told)],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise RuntimeError(result.stderr[-3000:])
    return [json.loads(line)[1:] for line in result.stdout.splitlines() if line.startswith('["round"')]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    sys.stdout.write(f"{'':30}{'tokens/s':>12}{'first ms':>12}{'CPU s/1000':>12}\n")
    for name, rounds in asyncio.run(through_server(given.python, given.repeat)).items():
        tell(name, rounds)
    for name, layer in (("embedded, with OpenAI layer", True), ("embedded, bare AsyncLLM", False)):
        tell(name, embedded(given.python, given.repeat, layer=layer))


def tell(name: str, rounds: list[list[float]]) -> None:
    """Medians."""
    rate, first, used = (statistics.median(column) for column in zip(*rounds, strict=True))
    sys.stdout.write(f"{name:30}{rate:12.0f}{first:12.1f}{used:12.3f}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
