"""Conversations go back to the worker that has their beginning; requests go to workers that have what they need."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_setup import PLAIN, Queue
from v1_worker import V1Worker
from virtual_queue import VirtualQueue, VirtualWorker, error

from headrace_api import wire
from headrace_queue.errors import ApiError
from headrace_queue.needs import offers, read_needs
from headrace_queue.prefixes import of_body
from headrace_queue.schedule.affinity import Affinity

LONG = "Tell me of mills. " * 50


def said(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("system", "user", "assistant")
    messages = [{"role": roles[index % 3], "content": content} for index, content in enumerate(contents)]
    return {"model": "m", "messages": messages, **more}


def test_requests_that_begin_alike_share_names() -> None:
    first = of_body(said(LONG, "What is a race?"))
    second = of_body(said(LONG, "What is a race?", "Water.", "And a head race?"))
    other = of_body(said(LONG, "What is a wheel?", "Wood."))
    assert second[:2] == first
    assert other[0] == first[0]
    assert not set(other[1:]) & set(second)
    assert of_body(said(LONG, tools=[{"type": "function"}]))[0] != first[0]
    assert of_body(said("Hello", "What is a race?")) == (), "too short to be looked for"


def test_messages_with_more_than_a_text_have_names_too() -> None:
    parts = [{"type": "text", "text": LONG}]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}, {"role": "user", "content": "x"}]}
    again = {"model": "m", "messages": [{"role": "user", "content": list(parts)}]}
    assert of_body(body)[0] == of_body(again)[0]
    assert len(of_body(body)) == 2


def test_prompts_share_whole_blocks() -> None:
    one, other = (
        of_body({"model": "m", "prompt": "x" * 5000}),
        of_body({"model": "m", "prompt": "x" * 4500 + "y" * 3000}),
    )
    assert len(one) == 2
    assert other[:2] == one
    assert of_body({"model": "m", "prompt": list(range(3000))}) == of_body({"model": "m", "prompt": list(range(2500))})


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "prompt", "tools", "input"]), Json | st.just([LONG, {"role": []}])
    )
)
def test_whatever_a_body_holds_has_names(body: dict[str, Any]) -> None:
    assert len(of_body({"model": "m", **body})) <= 32 if not isinstance(body.get("model"), list | dict) else True


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.booleans())))
def test_what_is_remembered_is_bounded_and_whole(steps: list[tuple[int, list[int], bool]]) -> None:
    affinity = Affinity(per_worker=8)
    for worker, prefixes, stays in steps:
        if stays:
            affinity.note(worker, prefixes)
            assert next(affinity.candidates(prefixes)) == worker
        else:
            affinity.forget(worker)
            assert worker not in affinity.candidates(range(31))
        links = {(w, p) for w, known in affinity._prefixes.items() for p in known}
        assert links == {(w, p) for p, workers in affinity._workers.items() for w in workers}
        assert all(len(known) <= 8 for known in affinity._prefixes.values())
        assert all(0 < len(workers) <= 4 for workers in affinity._workers.values())


def two(queue: VirtualQueue) -> list[VirtualWorker]:
    return [queue.worker("m", credit=20), queue.worker("m", credit=20)]


def test_a_conversation_goes_back_to_its_worker() -> None:
    queue = VirtualQueue()
    workers = two(queue)
    queue.ask("first", prefixes=(1, 2))
    [one] = [worker for worker in workers if worker.jobs]
    [other] = [worker for worker in workers if not worker.jobs]
    for number in range(8):
        queue.ask(f"again {number}", prefixes=(1, 2, 3 + number))
    assert len(one.jobs) == 9, "as many as it may be behind by, though the other has more room"
    queue.ask("one too many", prefixes=(1, 2, 30))
    assert other.asked == ["one too many"]


def test_the_longest_beginning_counts() -> None:
    queue = VirtualQueue()
    workers = two(queue)
    queue.ask("a", prefixes=(1, 2, 3)), queue.ask("b", prefixes=(1, 9))
    assert [len(worker.jobs) for worker in workers] == [2, 0], "the beginning of both"
    workers[0].finish(next(iter(workers[0].jobs)))
    workers[1].grant(10)
    queue.ask("c")
    queue.ask("d", prefixes=(7,))
    queue.ask("e", prefixes=(1, 2, 30))
    assert "e" in workers[0].asked
    assert workers[1].asked == ["c", "d"]


def test_a_worker_without_room_or_with_a_new_engine_is_not_waited_for() -> None:
    queue = VirtualQueue()
    one = queue.worker("m", credit=1)
    queue.ask("first", prefixes=(1,))
    other = queue.worker("m", credit=5)
    queue.ask("second", prefixes=(1,))
    assert (one.asked, other.asked) == (["first"], ["second"])


def test_a_request_waits_for_a_worker_that_has_what_it_needs() -> None:
    queue = VirtualQueue("m", hold_seconds=10)
    plain = queue.worker("m", credit=5)
    picky = queue.ask("picky", needs=offers(["lab"], []))
    queue.ask("plain")
    assert plain.asked == ["plain"], "what nobody can take stands in nobody's way"
    lab = queue.worker("m", credit=1, offers=offers(["lab", "big"], ["aleph-alpha"]))
    assert lab.asked == ["picky"]
    assert not picky.over
    lonely = queue.ask("lonely", needs=offers(["moon"], []))
    queue.clock.pass_(11)
    assert error(lonely) == (503, "no_worker")
    assert "tag moon" in str(lonely.end)


def test_only_so_many_kinds_of_tags_wait() -> None:
    queue = VirtualQueue("m")
    for number in range(64):
        queue.ask(needs=offers([str(number)], []))
    queue.ask(needs=offers(["7"], []))
    with pytest.raises(ApiError, match="64 other tags"):
        queue.ask(needs=offers(["new"], []))
    queue.ask()


@pytest.mark.parametrize(
    ("tags", "hosting", "expected"),
    [
        ("", "", []),
        (" lab, big ,", "", ["tag big", "tag lab"]),
        ("", "cloud", []),
        ("lab", "aleph-alpha", ["hosting aleph-alpha", "tag lab"]),
    ],
)
def test_headers(tags: str, hosting: str, expected: list[str]) -> None:
    assert sorted(read_needs(tags, hosting)) == expected


@pytest.mark.parametrize(("tags", "hosting"), [("a,b,c,d,e", ""), ("a,a,a,a,a", ""), ("x" * 65, ""), ("", "x" * 65)])
def test_headers_that_ask_too_much(tags: str, hosting: str) -> None:
    with pytest.raises(ApiError, match="x-headrace-"):
        read_needs(tags, hosting)


async def test_tags_from_a_clients_header_to_a_workers_registration(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=9), V1Worker(queue.worker_url, "m", tags=["lab"]) as lab:
        task = queue.ask(extra_headers={"x-headrace-tags": "lab"})
        assert await lab.silent()
        await lab.send(wire.Credit(n=1))
        await lab.result(await lab.expect(wire.Job), body=PLAIN)
        await task
