"""docs/protocol.md names everything that is on the wire, and is enough to write a worker from."""

import asyncio
import importlib.util
import inspect
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from pydantic import BaseModel
from queue_setup import Queue, eventually

from headrace_api import wire, wire_poll

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
NAMED = set(re.findall(r"`\"?([a-z_]+)\"?`", DOCUMENT)) | set(re.findall(r'"([a-z_]+)":', DOCUMENT))


def messages() -> list[type[BaseModel | msgspec.Struct]]:
    """Every message of both modules."""
    return [
        each
        for module in (wire, wire_poll)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, (BaseModel, msgspec.Struct))
        and each.__module__ == module.__name__
        and each.__name__[0] != "_"
    ]


@pytest.mark.parametrize("message", messages(), ids=lambda each: each.__name__)
def test_every_field_is_named(message: type[BaseModel | msgspec.Struct]) -> None:
    fields = set(message.__struct_fields__ if issubclass(message, msgspec.Struct) else message.model_fields)
    assert not fields - NAMED


@pytest.mark.parametrize("message", [wire.Register, *get_args(wire.WorkerMessage), *get_args(wire.QueueMessage)])
def test_every_type_is_named(message: type[wire.Register | wire.WorkerMessage | wire.QueueMessage]) -> None:
    assert f"`{message.__name__.lower()}`" in DOCUMENT


def test_every_state_and_close_code_is_named() -> None:
    assert set(get_args(wire.WorkerState)) <= NAMED
    for code in (wire.CLOSE_BAD_REGISTRATION, wire.CLOSE_BAD_TOKEN):
        assert f"| {code} |" in DOCUMENT


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"from 1 to {wire.MOST_CREDITS:,}" in DOCUMENT


async def test_a_worker_that_was_written_from_it_works(queue: Queue) -> None:
    spec = importlib.util.spec_from_file_location("tiny_worker", ROOT / "tests" / "docs" / "tiny_worker.py")
    assert spec
    assert spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    working = asyncio.create_task(tiny.work(queue.worker_url))
    try:
        await eventually(lambda: queue.server.dispatcher.schedule.free("tiny") > 0)
        for _ in range(6):
            assert (await queue.ask("tiny")).choices[0].message.content.startswith("Who won")
        stream = await queue.ask("tiny", stream=True)
        assert [chunk.choices[0].delta.content[:7] async for chunk in stream] == ["Who won"]
        await eventually(lambda: queue.metric("headrace_queue_tokens_total", model="tiny", kind="completion") == 7)
    finally:
        working.cancel()
