"""Workers that announce no model: which of them is asked to load one."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_queue import VirtualQueue, VirtualWorker

from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule
from headrace_queue.schedule.memory import needed_mb


def generalist(queue: VirtualQueue, gigabytes: int = 8) -> VirtualWorker:
    worker = queue.worker(memory_mb=gigabytes * 1000)
    worker.grant()
    return worker


def serve(queue: VirtualQueue, model: str, *workers: VirtualWorker) -> VirtualWorker:
    """Who takes a request; it is answered, and the worker is free again."""
    queue.ask(model=model)
    [one] = [worker for worker in workers if worker.jobs]
    one.finish(next(iter(one.jobs)))
    one.grant()
    return one


def test_a_model_stays_where_it_is_loaded() -> None:
    queue = VirtualQueue()
    workers = [generalist(queue) for _ in range(3)]
    homes = {model: serve(queue, model, *workers) for model in ("a", "b", "c")}
    assert len(set(homes.values())) == 3, "each loads one, and none two"
    for model in "cabbacacb":
        assert serve(queue, model, *workers) is homes[model]


def test_the_one_that_was_asked_longest_ago_loads_a_new_one() -> None:
    queue = VirtualQueue()
    workers = [generalist(queue) for _ in range(2)]
    old, new = serve(queue, "a", *workers), serve(queue, "b", *workers)
    assert serve(queue, "a", *workers) is old
    assert serve(queue, "c", *workers) is new
    assert serve(queue, "a", *workers) is old


def test_no_request_waits_for_the_one_that_has_its_model() -> None:
    queue = VirtualQueue()
    workers = [generalist(queue), generalist(queue)]
    queue.ask("1", model="a"), queue.ask("2", model="a")
    assert [worker.asked for worker in workers] == [["1"], ["2"]]


def test_a_model_goes_where_it_fits() -> None:
    queue = VirtualQueue()
    small, large, middle = generalist(queue, 8), generalist(queue, 80), generalist(queue, 24)
    workers = (small, large, middle)
    assert serve(queue, "llama-2-70b-chat:Q4_K_M", *workers) is large, "42 GB"
    assert serve(queue, "llama-2-13b:Q4_K_M", *workers) is small, "8 GB"
    assert serve(queue, "llama-2-7b", *workers) is middle, "17 GB, and the large one has a model"
    assert serve(queue, "giant-405b", *workers) is large, "none is large enough"


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        ("TheBloke/Llama-2-7B-Chat-GGUF:Q4_K_M", 4.2),
        ("TheBloke/Llama-2-13B-GGUF", 7.8),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 134.4),
        ("Qwen/Qwen2.5-0.5B", 1.2),
        ("llama3:8b", 19.2),
        ("hugging-quants/Llama-3.1-70B-AWQ-INT4", 42.0),
        ("m-7b-8bit", 8.4),
        ("TheBloke/CoolModelv2:Q4_K_M", None),
        ("gpt-2", None),
        ("b", None),
    ],
)
def test_what_a_name_tells_of_memory(model: str, gigabytes: float | None) -> None:
    needed = needed_mb(model)
    assert needed == (None if gigabytes is None else pytest.approx(gigabytes * 1000))


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from([0, 8000, 8191, 8192, 80_000])),
        st.tuples(st.just("ask"), st.sampled_from(["a", "m-7b:q4", "m-70b:q4"])),
        st.tuples(st.just("answer"), st.integers(0, 20)),
        st.tuples(st.just("lose"), st.integers(0, 20)),
    ),
    max_size=60,
)


class Book:
    """What the generalists of a schedule have, in the simplest form."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.memory: dict[int, int] = {}
        self.served: dict[int, tuple[str, int]] = {}
        """A worker's newest model, and when it was asked for it."""
        self.waiting: dict[int, str] = {}
        self.running: dict[int, int] = {}
        self.numbers = iter(range(1, 10**6))

    @property
    def free(self) -> set[int]:
        return self.memory.keys() - self.running.values()

    def expected(self, model: str) -> set[int]:
        """By the words of the documentation."""
        free = self.free
        if has := {number for number in free if self.served[number][0] == model}:
            return {min(has, key=lambda number: self.served[number][1])}
        need = needed_mb(model) or 0
        if fits := {
            number: (self.served[number][1], self.memory[number]) for number in free if self.memory[number] >= need
        }:
            return {number for number, rank in fits.items() if rank == min(fits.values())}
        most = max(self.memory[number].bit_length() for number in free)
        return {number for number in free if self.memory[number].bit_length() == most}

    def follow(self, decisions: Iterable[tuple[int, int]]) -> None:
        for ticket, number in decisions:
            model = self.waiting.pop(ticket)
            assert number in self.expected(model)
            self.running[ticket] = number
            self.served[number] = (model, next(self.numbers))

    def join(self, memory: int) -> None:
        number = next(self.numbers)
        self.memory[number], self.served[number] = memory, ("", 0)
        self.schedule.add(number, None, memory_mb=memory)
        self.schedule.grant(number, 1)
        self.follow(self.schedule.decide_for(number))

    def ask(self, model: str) -> None:
        ticket = next(self.numbers)
        self.schedule.enqueue(ticket, Call(str(ticket), model, "", b""))
        self.waiting[ticket] = model
        self.follow(self.schedule.decide([model]))

    def answer(self, which: int) -> None:
        if self.running:
            ticket = sorted(self.running)[which % len(self.running)]
            number = self.running.pop(ticket)
            self.schedule.withdraw(ticket)
            self.schedule.grant(number, 1)
            self.follow(self.schedule.decide_for(number))

    def lose(self, which: int) -> None:
        if self.memory:
            number = sorted(self.memory)[which % len(self.memory)]
            del self.memory[number]
            for ticket in [ticket for ticket, holder in self.running.items() if holder == number]:
                del self.running[ticket]
                self.schedule.withdraw(ticket)
            self.schedule.remove(number)


@given(Steps)
def test_the_choice_is_that_of_the_documentation(steps: list[tuple[str, Any]]) -> None:
    book = Book()
    for what, value in steps:
        getattr(book, what)(value)
        assert not (book.free and book.waiting), "nothing waits while one is free"
        ranked = book.schedule._force.generalists._sizes.values()
        assert {one.number for ranking in ranked for one in ranking.in_order()} == book.free
