"""How the light embedding engine puts texts into batches; with a model that counts, as a real one takes seconds."""

import asyncio
import contextlib
import importlib.util
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from headrace_worker.engines.embedding_server import Batches, RequestError, SentenceTransformerModel, _limit, texts_of


class Counting:
    limit, vocabulary, dimensions, normalizes = 5, 100, 1, False

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def tokens(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[Any]:
        self.batches.append([list(ids) for ids in batch])
        self.go_on.wait()
        if [99] in self.batches[-1]:
            raise ValueError("no such token")
        return [sum(ids) for ids in batch]

    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@contextlib.asynccontextmanager
async def working(model: Counting, size: int, wait_s: float = 0.0) -> AsyncIterator[Batches]:
    batches = Batches(model, size, wait_s)
    task = asyncio.create_task(batches.run())
    yield batches
    task.cancel()


async def test_texts_that_come_while_a_batch_is_worked_on_are_the_next() -> None:
    model = Counting()
    model.go_on.clear()
    async with working(model, 4) as batches:
        first = asyncio.create_task(batches.vectors([[1]]))
        while not model.batches:
            await asyncio.sleep(0)
        others = [asyncio.create_task(batches.vectors([[number], [number]])) for number in range(2, 5)]
        await asyncio.sleep(0)
        model.go_on.set()
        assert await first == [1]
        assert await asyncio.gather(*others) == [[2, 2], [3, 3], [4, 4]]
    assert model.sizes() == [1, 4, 2]
    assert batches.counts == {"batches": 3, "texts": 7, "tokens": 7}


async def test_a_batch_waits_until_it_is_full() -> None:
    model = Counting()
    async with working(model, 3, wait_s=60) as batches:
        asked = [asyncio.create_task(batches.vectors([[number]])) for number in range(3)]
        assert await asyncio.wait_for(asyncio.gather(*asked), 10) == [[0], [1], [2]]
    assert model.sizes() == [3]


async def test_a_batch_waits_no_longer_than_it_may() -> None:
    model = Counting()
    async with working(model, 3, wait_s=0.01) as batches:
        assert await asyncio.wait_for(batches.vectors([[7]]), 10) == [7]
    assert model.sizes() == [1]


async def test_a_failure_is_told_to_those_of_the_batch_only() -> None:
    model = Counting()
    async with working(model, 1) as batches:
        with pytest.raises(ValueError, match="no such token"):
            await batches.vectors([[99]])
        assert await batches.vectors([[5]]) == [5]


async def test_the_texts_of_a_client_that_left_are_not_worked_on() -> None:
    model = Counting()
    model.go_on.clear()
    async with working(model, 1) as batches:
        first = asyncio.create_task(batches.vectors([[1]]))
        while not model.batches:
            await asyncio.sleep(0)
        gone = asyncio.create_task(batches.vectors([[2]]))
        last = asyncio.create_task(batches.vectors([[3]]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.go_on.set()
        assert [await first, await last] == [[1], [3]]
    assert model.batches == [[[1]], [[3]]]


@pytest.mark.parametrize(
    ("given", "ids"),
    [("a bb", [[1, 2]]), (["a", "bb"], [[1], [2]]), ([7, 8], [[7, 8]]), ([[7], [8, 9]], [[7], [8, 9]]), ("", [[]])],
)
def test_the_shapes_of_input(given: Any, ids: list[list[int]]) -> None:
    assert texts_of({"input": given}, Counting()) == ids


@pytest.mark.parametrize("given", [None, [], {}, 5, [True], [1.5], [[]], ["a", 1], [100], ["a a a a a a"], [[1] * 6]])
def test_other_shapes_are_refused(given: Any) -> None:
    with pytest.raises(RequestError, match=r"^input"):
        texts_of({"input": given}, Counting())


def test_the_limit_is_the_configurations_then_the_models() -> None:
    assert _limit(128, 256, 512) == 128
    assert _limit(None, 256, 512) == 256
    assert _limit(None, None, 512) == 512
    with pytest.raises(SystemExit, match=r"max_total_tokens: 513 is more than the model's 512 positions"):
        _limit(513, 256, 512)


@pytest.mark.skipif(importlib.util.find_spec("optimum") is not None, reason="optimum is there")
def test_onnx_without_optimum_says_what_to_install() -> None:
    with pytest.raises(
        SystemExit, match=r'needs optimum-onnx, which .* has not; install "sentence-transformers\[onnx\]<6"'
    ):
        SentenceTransformerModel({"backend": "onnx"})
