"""The small parts that the worker is made of."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.pieces import decode_pieces
from headrace_api.wire import Drain, Usage
from headrace_worker import probes, termination
from headrace_worker.batcher import Batcher
from headrace_worker.engine_process import exit_text, free_port
from headrace_worker.errors import ProbesError
from headrace_worker.life import State
from headrace_worker.metrics import Metrics
from headrace_worker.puller import retry_delay, worker_url
from headrace_worker.sse import UsageTap, usage_of
from headrace_worker.status import Status
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import CHUNKS, DONE, ERROR_CHUNK, USAGE, USAGE_CHUNK
from tests.worker.scripted_queue import ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8080", "ws://localhost:8080/worker"),
        ("https://queue.example/", "wss://queue.example/worker"),
        ("https://queue.example/base", "wss://queue.example/base/worker"),
        ("ws://spider:9", "ws://spider:9/worker"),
        ("wss://spider/my/path?x=1", "wss://spider/my/path?x=1"),
    ],
)
def test_worker_url(url: str, expected: str) -> None:
    assert worker_url(url) == expected


def test_retries_are_fast_at_first_then_slow_and_spread() -> None:
    delays = [retry_delay(failures, 7, 1.0) for failures in range(1, 10)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert [retry_delay(failures, 1, 1.0) for failures in (1, 2)] == [0.2, 10.0]
    assert retry_delay(1, 7, 0.0) == 0.1
    assert retry_delay(10**6, 10**7, 1.0) == 10.0


@pytest.mark.parametrize(("refusal", "says"), [(401, "HEADRACE_QUEUE_TOKEN"), (4401, "TOKEN"), (4400, "registration")])
async def test_refusals_are_logged_with_what_to_do_and_tried_again(
    queue: ScriptedQueue, pulling: Start, refusal: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.refuse = refusal
    async with pulling(queue.url):
        await asyncio.wait_for(queue.refused.wait(), 5)
        queue.refuse = None
        await (await queue.connection()).greet()
    assert says in capsys.readouterr().out


@pytest.mark.slow
async def test_an_absent_queue_is_waited_for(pulling: Start) -> None:
    queue = ScriptedQueue()
    queue.port = free_port()
    async with pulling(queue.url) as worker:
        await asyncio.sleep(0.3)
        assert worker.registered == []
        async with queue.serving():
            await (await queue.connection()).greet()
            await until(lambda: worker.registered)


@given(st.lists(st.integers(1, 200), max_size=20), st.booleans())
def test_usage_is_taken_out_wherever_the_stream_is_cut(cuts: list[int], keep: bool) -> None:
    stream = b"".join(CHUNKS) + USAGE_CHUNK + DONE
    tap, out, rest = UsageTap(keep_usage=keep), b"", stream
    for cut in cuts:
        out += tap.feed(rest[:cut])
        rest = rest[cut:]
    out += tap.feed(rest) + tap.finish()
    assert tap.usage == Usage(**USAGE)
    assert out == (stream if keep else b"".join(CHUNKS) + DONE)


def test_usage_in_an_event_with_choices_is_passed_on() -> None:
    event = b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n'
    tap = UsageTap(keep_usage=False)
    assert tap.feed(event) == event
    assert tap.usage == Usage(prompt_tokens=1)
    assert tap.feed(b'data: {"usage":{ nonsense\n\n') == b'data: {"usage":{ nonsense\n\n'


@given(st.lists(st.integers(1, 200), max_size=20), st.booleans(), st.sampled_from([DONE, b"", DONE[:-2]]))
def test_an_error_and_all_after_it_are_kept_wherever_the_stream_is_cut(
    cuts: list[int], keep: bool, after: bytes
) -> None:
    word = b'data: {"choices":[{"delta":{"content":"error"}}]}\n\n'
    tap, out, rest = UsageTap(keep_usage=keep), b"", CHUNKS[0] + word + ERROR_CHUNK + after
    for cut in cuts:
        out += tap.feed(rest[:cut])
        rest = rest[cut:]
    out += tap.feed(rest) + tap.finish()
    assert tap.error == {"message": "EngineCore encountered an issue", "code": 500}
    assert out == CHUNKS[0] + word


@pytest.mark.parametrize("error", ["null", "{}", '""', "nonsense"])
def test_no_error_is_none(error: str) -> None:
    event = f'data: {{"choices":[],"error":{error}}}\n\n'.encode()
    tap = UsageTap(keep_usage=True)
    assert (tap.feed(event) + tap.finish(), tap.error) == (event, None)


def test_an_error_that_the_engine_did_not_finish_is_one() -> None:
    tap = UsageTap(keep_usage=True)
    assert tap.feed(CHUNKS[0] + b'event: error\ndata: {"error":"out of memory"}\n') == CHUNKS[0]
    assert (tap.finish(), tap.error) == (b"", {"message": "out of memory"})


@pytest.mark.parametrize("counts", [{"prompt_tokens": -1}, {"completion_tokens": 2**31}, {"total_tokens": "many"}])
def test_an_engine_that_lies_about_usage_has_told_none(counts: dict[str, object]) -> None:
    body = json.dumps({"usage": counts}).encode()
    assert usage_of(body) is None
    tap = UsageTap(keep_usage=True)
    assert tap.feed(b"data: " + body + b"\n\n")
    assert tap.usage is None


class SlowSender:
    def __init__(self) -> None:
        self.sent: list[bytes | str] = []
        self.go_on = asyncio.Event()

    async def send_bytes(self, data: bytes, /) -> None:
        await self.go_on.wait()
        self.sent.append(data)

    async def send_str(self, data: str, /) -> None:
        await self.go_on.wait()
        self.sent.append(data)


async def test_a_full_connection_says_so_and_loses_nothing() -> None:
    sender = SlowSender()
    batcher = Batcher(sender)
    running = asyncio.create_task(batcher.run())
    data, emptied = b"x" * 700_000, asyncio.Event()
    batcher.piece(0, data)
    await asyncio.sleep(0.02)
    assert not batcher.full  # what is on its way to the connection is the connection's
    for job in (1, 2):
        batcher.piece(job, data)
    assert batcher.full
    batcher.when_emptied(emptied.set)
    batcher.message(Drain(reason="last"))
    await asyncio.sleep(0.02)
    assert not emptied.is_set()
    sender.go_on.set()
    await asyncio.wait_for(emptied.wait(), 10)
    assert not batcher.full
    running.cancel()
    frames = [frame for frame in sender.sent if isinstance(frame, bytes)]
    assert [job for frame in frames for job, _ in decode_pieces(frame)] == [0, 1, 2]
    assert sum(len(piece) for frame in frames for _, piece in decode_pieces(frame)) == 3 * len(data)
    assert isinstance(sender.sent[-1], str)


async def test_messages_share_a_frame_and_come_after_the_pieces() -> None:
    sender = SlowSender()
    sender.go_on.set()
    batcher = Batcher(sender, last_words=lambda: batcher.message(Drain(reason="last")))
    batcher.message(Drain(reason="first"))
    batcher.piece(1, b"a")
    batcher.piece(2, b"b")
    running = asyncio.create_task(batcher.run())
    await batcher.flushed()
    running.cancel()
    pieces, messages = sender.sent[:2]
    assert isinstance(pieces, bytes)
    assert decode_pieces(pieces) == [(1, b"a"), (2, b"b")]
    assert [each["reason"] for each in json.loads(messages)] == ["first", "last"]


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exited with status 0"), (137, "was killed by SIGKILL"), (-15, "was killed by SIGTERM")]
)
def test_exit_text(code: int, words: str) -> None:
    assert exit_text(code) == words


def test_the_termination_message_keeps_the_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    termination.write(file, "the engine died", [f"line {n} " + "é" * 60 for n in range(50)])
    data = file.read_bytes()
    assert len(data) <= 4096
    assert data.startswith(b"the engine died\n")
    assert "line 49" in data.decode(errors="replace")
    termination.write(tmp_path / "absent" / "log", "m", [])


def test_the_termination_message_names_the_root_cause_before_the_tracebacks() -> None:
    cause = "(EngineCore pid=7) ERROR RuntimeError: Insufficient space in /dev/shm"
    lines = [cause, cause, *[f'  File "x.py", line {n}' for n in range(500)], "RuntimeError: initialization failed"]
    first, *errors = termination.message("the engine exited with status 1", lines).decode().split("\n")[:4]
    assert first == "the engine exited with status 1"
    assert errors == [
        "RuntimeError: Insufficient space in /dev/shm",
        "RuntimeError: initialization failed",
        "last lines:",
    ]


VLLM = [
    "(APIServer pid=7) WARNING 11-21 07:47:42 [system_utils.py:255] This can cause `OSError: Too many files`.",
    "Traceback (most recent call last):",
    '  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main',
    "(APIServer pid=7) ERROR 11-21 07:47:43 [core.py:1] pydantic.ValidationError: 1 validation error for ModelConfig",
    "(APIServer pid=7) ERROR 11-21 07:47:43 [core.py:1]   Value error, Model architectures ['Foo'] are not supported",
    "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
]
LLAMA = [
    "0.00.006.318 I srv    load_model: loading model '/tmp/arch.gguf'",
    "0.00.004.533 E llama_model_load: error loading model: unknown model architecture: 'llamb'",
    "0.00.004.536 E llama_model_load_from_file_impl: failed to load model",
    "RuntimeError: Failed to init server, please check the input params.",
]


@pytest.mark.parametrize(
    ("lines", "errors"),
    [
        (
            VLLM,
            [
                "ValidationError: 1 validation error for ModelConfig",
                "Value error, Model architectures ['Foo'] are not supported",
            ],
        ),
        (
            LLAMA,
            [
                "llama_model_load: error loading model: unknown model architecture: 'llamb'",
                "llama_model_load_from_file_impl: failed to load model",
                "RuntimeError: Failed to init server, please check the input params.",
            ],
        ),
        (
            ["usage: api_server.py", "api_server.py: error: unrecognized arguments: --a"],
            ["error: unrecognized arguments: --a"],
        ),
        (["[TensorRT-LLM][ERROR] 6: The engine plan file is wrong"], ["6: The engine plan file is wrong"]),
        (["[11/21/2026-07:00:00] [TRT-LLM] [E] out of memory"], ["out of memory"]),
    ],
)
def test_the_termination_message_has_all_that_an_engine_says_of_its_error(lines: list[str], errors: list[str]) -> None:
    head = termination.message("it ended", lines).decode().split("\nlast lines:\n", maxsplit=1)[0]
    assert head.split("\n") == ["it ended", *errors]


def test_the_last_lines_are_whole() -> None:
    lines = [f"{number} {'x' * 90}" for number in range(100)]
    tail = termination.message("it ended", lines).decode().split("\nlast lines:\n", maxsplit=1)[1].split("\n")
    assert len(tail) > 30
    assert tail == lines[-len(tail) :]
    assert termination.message("it ended", ["y" * 5000]).endswith(b"yyy")


def test_started_without_the_queue_only_after_trying_for_a_while() -> None:
    status = Status(Metrics())
    status.set_tried()
    assert not status.started
    status.set_state(State.READY)
    assert status.started
    status = Status(Metrics())
    status.set_state(State.READY)
    assert not status.started
    status.set_registered(True)
    assert status.started


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_probes_follow_the_state() -> None:
    status = Status(Metrics())
    metrics_port, tcp_port = free_port(), free_port()
    base = f"http://127.0.0.1:{metrics_port}"
    async with probes.serving(status, metrics_port, [tcp_port]), aiohttp.ClientSession() as http:
        async with http.get(f"{base}/readyz") as response:
            assert response.status == 503
            assert (await response.json())["missing"] == [
                "the worker is fetching",
                "the engine is not healthy",
                "not registered with the queue",
            ]
        async with http.get(f"{base}/startedz") as response:
            assert (response.status, await response.json()) == (503, {"started": False, "state": "fetching"})
        assert not await accepts(tcp_port)
        status.set_state(State.READY)
        status.set_engine_healthy(True)
        status.set_registered(True)
        await asyncio.sleep(0.05)
        assert await accepts(tcp_port)
        async with http.get(f"{base}/readyz") as response:
            assert (response.status, (await response.json())["ready"]) == (200, True)
        async with http.get(f"{base}/startedz") as response:
            assert response.status == 200
        async with http.get(f"{base}/metrics") as response:
            assert "headrace_worker_registered 1.0" in await response.text()
        status.set_registered(False)
        await asyncio.sleep(0.05)
        assert not await accepts(tcp_port)
        async with http.get(f"{base}/healthz") as response:
            assert response.status == 200
        status.set_state(State.FAILED)
        async with http.get(f"{base}/healthz") as response:
            assert response.status == 503
        with pytest.raises(ProbesError, match=f"metrics_port: cannot listen on port {metrics_port}"):
            async with probes.serving(status, metrics_port, []):
                pass


@pytest.mark.parametrize(
    ("details", "cached"),
    [({"cached_tokens": 2}, 2), ({"cached_tokens": None}, 0), (None, 0), ([], 0), ({"cached_tokens": 99}, 0)],
)
def test_what_a_prompt_had_in_the_cache_is_in_the_usage(details: object, cached: int) -> None:
    body = json.dumps({"usage": {**USAGE, "prompt_tokens_details": details}}).encode()
    tap = UsageTap(keep_usage=False)
    tap.feed(b"data: " + body + b"\n\n")
    assert usage_of(body) == tap.usage == Usage(**USAGE, cached_tokens=cached)
