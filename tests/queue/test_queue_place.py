"""A request that is placed goes where it would go if it first waited: the schedule has a faster way for most."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule

WORKERS = {100: ["m", "m:a"], 101: ["m"], 102: ["m:a", "n"], 103: None}
OFFERS = {100: frozenset({"tag x"}), 102: frozenset({"tag x", "tag y"})}

Calls = st.builds(
    Call,
    request_id=st.just(""),
    model=st.sampled_from(["m", "m", "n", "g"]),
    openai_url=st.just(""),
    raw=st.sampled_from([b"", b"x" * 4000]),
    key=st.sampled_from(["", "k"]),
    weight=st.sampled_from([1.0, 3.0]),
    priority=st.sampled_from([0, 0, 2]),
    needs=st.sampled_from([frozenset(), frozenset(), frozenset({"tag x"}), frozenset({"tag z"})]),
    prefixes=st.sampled_from([(), (), (1,), (1, 2)]),
) | st.builds(Call, st.just(""), st.just("m:a"), st.just(""), st.just(b""), adapter=st.just("a"))
Steps = st.lists(
    st.one_of(
        Calls,
        st.tuples(st.just("grant"), st.sampled_from(sorted(WORKERS)), st.integers(1, 3)),
        st.tuples(st.sampled_from(["answer", "give back", "leave", "isolate"]), st.integers(0, 9), st.integers(0, 999)),
    ),
    max_size=60,
)


class Replay:
    """One schedule, told everything that happens."""

    def __init__(self, *, places: bool) -> None:
        self.schedule = Schedule(["g"])
        for worker, models in WORKERS.items():
            self.schedule.add(worker, models, offers=OFFERS.get(worker, frozenset()))
        self.given: dict[int, int | None] = {}
        self._places = places

    def come(self, ticket: int, call: Call) -> None:
        self.given[ticket] = None
        if self._places:
            self._note(self.schedule.place(ticket, call, float(ticket)))
        else:
            self.schedule.enqueue(ticket, call, float(ticket))
            self._note(self.schedule.decide([call.model]))

    def happen(self, what: str, which: int, number: int) -> None:
        if what == "grant":
            self.schedule.grant(which, number)
            self._note(self.schedule.decide_for(which))
            return
        candidates = [ticket for ticket, worker in self.given.items() if (worker is None) == (what == "isolate")]
        if not candidates:
            return
        ticket = candidates[which % len(candidates)]
        if what == "isolate":
            self.schedule.isolate(ticket)
        elif what == "give back":
            self.given[ticket] = None
            self.schedule.give_back(ticket)
        else:
            if what == "answer":
                self.schedule.settle(ticket, Usage(prompt_tokens=9, completion_tokens=number))
            self.schedule.withdraw(ticket)
            del self.given[ticket]
        self._note(self.schedule.decide())

    def books(self) -> list[object]:
        """All that later decisions follow from."""
        shares = self.schedule._demands._shares.values()
        counters = {each.name: {flow.key: flow.counter for flow in each._flows.values()} for each in shares}
        floors = {each.name: (each._floor, each._top) for each in shares}
        order = [(place, entry.ticket) for place, entry in self.schedule.in_order()]
        homeless = list(self.schedule._demands.homeless)
        return [counters, floors, order, homeless, self.schedule.load()]

    def _note(self, decisions: Iterable[tuple[int, int]]) -> None:
        self.given.update(decisions)


@pytest.mark.slow
@given(Steps)
def test_what_is_placed_goes_where_it_would_go_from_waiting(steps: list[Call | tuple[str, int, int]]) -> None:
    fast, slow = Replay(places=True), Replay(places=False)
    for ticket, step in enumerate(steps):
        for one in (fast, slow):
            if isinstance(step, Call):
                one.come(ticket, step)
            else:
                one.happen(*step)
        assert fast.given == slow.given
        assert fast.books() == slow.books()
