"""vLLM embedded in a process of ours (AsyncLLM) against its own HTTP server asked over loopback: which path is better.

    python tests/bench/vllm_embedded.py PYTHON [--repeat 3]

PYTHON is an interpreter that has vLLM. In both cases the engine core is a process of its own, as vLLM has it; compared
is what is in front of it: for the embedded engine the chat template, AsyncLLM and the making of the server-sent events;
for the server all of its API process and the client that reads the events. The client is that of worker_overhead.
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

sys.path.insert(0, str(Path(__file__).parent))
import worker_overhead as bench

ARGUMENTS = {"max_model_len": 256, "max_num_seqs": bench.STREAMS, "dtype": "float32", "enforce_eager": True}
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
PORT = 18490

EMBEDDED = """
import asyncio, json, sys, time
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

arguments, request, streams, repeat = json.loads(sys.argv[1])

async def stream(llm, tokenizer, number, tokens):
    began, first, events = time.perf_counter(), 0.0, 0
    prompt = tokenizer.apply_chat_template(request["messages"], tokenize=False, add_generation_prompt=True)
    kind = RequestOutputKind.DELTA
    params = SamplingParams(temperature=0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, output_kind=kind)
    async for output in llm.generate(prompt, params, f"r-{number}"):
        first = first or time.perf_counter() - began
        choice = {"index": 0, "delta": {"content": output.outputs[0].text}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
        event = b"data: " + json.dumps(chunk).encode() + b"\\n\\n"
        events += 1
    return first

async def main():
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
    tokenizer = llm.get_tokenizer()
    if asyncio.iscoroutine(tokenizer):
        tokenizer = await tokenizer
    number = 0
    for round in range(repeat + 1):
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(2):
            await asyncio.gather(*(stream(llm, tokenizer, number + i, request["max_tokens"]) for i in range(streams)))
            number += streams
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        firsts = []
        for _ in range(30):
            firsts.append(await stream(llm, tokenizer, number, 2))
            number += 1
        tokens = 2 * streams * request["max_tokens"]
        if round:
            print(json.dumps(["round", tokens / wall, 1000 * sorted(firsts)[15], 1000 * cpu / tokens]), flush=True)
    llm.shutdown()

if __name__ == "__main__":
    asyncio.run(main())
"""


@contextmanager
def server(python: str) -> Iterator[psutil.Popen]:
    """vLLM's own."""
    words = ["--model", str(bench.SAMPLE), "--served-model-name", "bench", "--host", "127.0.0.1", "--port", str(PORT)]
    words += ["--max-model-len", "256", "--max-num-seqs", str(bench.STREAMS), "--dtype", "float32", "--enforce-eager"]
    process = psutil.Popen(
        [python, "-m", "vllm.entrypoints.openai.api_server", *words, "--disable-uvicorn-access-log"],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


async def through_server(python: str, repeat: int) -> list[list[float]]:
    """Rounds of tokens per second, first token in ms, CPU s per 1000 tokens of API process and client together."""
    url = f"http://127.0.0.1:{PORT}"
    rounds = []
    with server(python) as process:
        async with aiohttp.ClientSession() as http:
            await bench.answers(http, f"{url}/health", bench.Program(process, Path(os.devnull)))
        for number in range(repeat + 1):
            before, own = process.cpu_times(), time.process_time()
            rate = await bench.load(url, "bench")
            after = process.cpu_times()
            cpu = after.user + after.system - before.user - before.system + time.process_time() - own
            first = await bench.first_tokens(url, "bench", 30)
            if number:  # the first warms up
                rounds.append([rate, first, cpu / (2 * bench.STREAMS * bench.TOKENS / 1000)])
    return rounds


def embedded(python: str, repeat: int) -> list[list[float]]:
    """The same of an embedded engine."""
    told: list[Any] = [{"model": str(bench.SAMPLE), **ARGUMENTS}, bench.request("bench"), bench.STREAMS, repeat]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "embedded.py"  # a file, because vLLM starts its core by spawning
        script.write_text(EMBEDDED)
        result = subprocess.run(
            [python, script, json.dumps(told)],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
    return [json.loads(line)[1:] for line in result.stdout.splitlines() if line.startswith('["round"')]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    rows = {
        "embedded": embedded(given.python, given.repeat),
        "server": asyncio.run(through_server(given.python, given.repeat)),
    }
    sys.stdout.write(f"{'':10}{'tokens/s':>12}{'first ms':>12}{'CPU s/1000':>12}\n")
    for name, rounds in rows.items():
        rate, first, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        sys.stdout.write(f"{name:10}{rate:12.0f}{first:12.1f}{cpu:12.3f}\n")


if __name__ == "__main__":
    main()
