"""How slots are shared between replicas: the decisions, and that no credit is lost or invented, whatever happens."""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule
from headrace_worker.addresses import ALIAS_S, GONE_S, changes
from headrace_worker.sharing import Seat, moves


def seats(**seats: Seat) -> dict[str, Seat]:
    return seats


def test_idle_credits_are_spread_evenly_and_nobody_is_preferred():
    three = seats(a=Seat(), b=Seat(), c=Seat())
    assert moves(0, 9, three, 0) == {"a": 3, "b": 3, "c": 3}
    assert {next(iter(moves(0, 1, three, turn))) for turn in range(3)} == {"a", "b", "c"}
    assert moves(0, 4, seats(a=Seat(jobs=2, open=False), b=Seat(credits=1), c=Seat()), 2) == {"c": 1}


def test_a_free_slot_goes_where_a_request_has_waited_longest():
    two = seats(a=Seat(jobs=1, wanted=5, since=8.0), b=Seat(wanted=1, since=3.0))
    assert moves(10, 2, two, 0) == {"b": 1}


def test_free_slots_go_to_the_waiting_as_one_queue_would_have_served_them():
    """At a, ten have come since 0 s, one a second; at b, two, at 5 s and 7.5 s."""
    two = seats(a=Seat(wanted=10, since=0.0), b=Seat(wanted=2, since=5.0))
    assert moves(10, 6, two, 0) == {"a": 6}
    assert moves(10, 8, two, 0) == {"a": 7, "b": 1}
    assert moves(10, 10, two, 0) == {"a": 8, "b": 2}
    assert moves(10, 14, two, 0) == {"a": 11, "b": 3}


def test_idle_credits_are_recalled_for_what_waits_elsewhere_and_only_so_many():
    two = seats(a=Seat(credits=4), b=Seat(wanted=3, since=1.0))
    assert moves(2, 4, two, 0) == {"a": -3}
    two["a"].recalled = 3
    assert moves(2, 4, two, 0) == {}
    two["a"].returned(2)  # one was used while the recall was on its way
    assert moves(2, 4, two, 0) == {"b": 2}


def test_nothing_is_recalled_from_a_queue_that_does_not_return_or_that_has_work_for_it():
    assert moves(2, 4, seats(a=Seat(returns=False, credits=4), b=Seat(wanted=3, since=1.0)), 0) == {}
    assert moves(2, 2, seats(a=Seat(credits=2, wanted=2), b=Seat(wanted=3, since=1.0)), 0) == {}


def test_a_new_replica_gets_its_part_of_idle_credits_at_once():
    assert moves(0, 8, seats(a=Seat(credits=8), b=Seat()), 0) == {"a": -4}
    assert moves(0, 1, seats(a=Seat(credits=1), b=Seat()), 0) == {}


def test_fewer_slots_are_recalled():
    assert moves(0, 3, seats(a=Seat(credits=4), b=Seat(credits=2, jobs=1)), 0) == {"a": -3, "b": -1}


@dataclass
class Line:
    """A connection: messages of each direction in order; `worker` is the number that the queue has given it."""

    seat: Seat
    worker: int
    up: deque[tuple[str, int]] = field(default_factory=deque)
    down: deque[tuple[str, int]] = field(default_factory=deque)


class World:
    """One worker, real schedules of three replicas, and lines that are slow, and break."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.schedules = [Schedule() for _ in range(3)]
        self.lines: dict[int, Line] = {}
        self.slots = self.chance.randint(1, 9)
        self.most = self.slots
        self.tickets = 0
        self.workers = 0
        self.now = 0.0
        self.running: list[tuple[int, int]] = []
        self.served = 0

    def step(self) -> None:
        self.now += 0.1
        replica = self.chance.randrange(3)
        self.chance.choices(
            (self.ask, self.upward, self.downward, self.finish, self.toggle, self.resize),
            (4, 6, 6, 4, 0.3, 0.1),
        )[0](replica)
        self.settle()
        self.check()

    def ask(self, replica: int) -> None:
        self.tickets += 1
        self.schedules[replica].enqueue(self.tickets, Call(f"r{self.tickets}", "m", "/v1/chat/completions", b"{}"))
        self.give(replica)

    def give(self, replica: int) -> None:
        for ticket, worker in self.schedules[replica].decide(["m"]):
            assert self.lines[replica].worker == worker
            self.lines[replica].down.append(("job", ticket))
        if (line := self.lines.get(replica)) and self.chance.random() < 0.5:
            line.down.append(("demand", sum(number for _, number, _ in self.schedules[replica].waits())))

    def upward(self, replica: int) -> None:
        if (line := self.lines.get(replica)) and line.up:
            kind, number = line.up.popleft()
            schedule = self.schedules[replica]
            if kind == "credit":
                schedule.grant(line.worker, number)
            elif kind == "recall":
                line.down.append(("returned", schedule.take_back(line.worker, number)))
            else:
                schedule.withdraw(number)
            self.give(replica)

    def downward(self, replica: int) -> None:
        if (line := self.lines.get(replica)) and line.down:
            kind, number = line.down.popleft()
            if kind == "job":
                line.seat.job_came()
                line.seat.jobs += 1
                self.running.append((replica, number))
            elif kind == "demand":
                line.seat.demanded(number, self.now - 1)
            else:
                line.seat.returned(number)

    def finish(self, _: int) -> None:
        if self.running:
            replica, ticket = self.running.pop(self.chance.randrange(len(self.running)))
            self.lines[replica].seat.jobs -= 1
            self.lines[replica].up.append(("end", ticket))
            self.served += 1

    def toggle(self, replica: int) -> None:
        """A connection breaks, or is made."""
        if line := self.lines.pop(replica, None):
            self.schedules[replica].remove(line.worker)
            self.running = [one for one in self.running if one[0] != replica]
        else:
            self.workers += 1
            self.schedules[replica].add(self.workers, ["m"])
            self.lines[replica] = Line(Seat(), self.workers)

    def resize(self, _: int) -> None:
        self.slots = self.chance.randint(1, 9)
        self.most = max(self.most, self.slots)

    def settle(self) -> None:
        places = {replica: line.seat for replica, line in self.lines.items()}
        while due := moves(self.now, self.slots, places, self.chance.randrange(3)):
            for replica, number in due.items():
                if number > 0:
                    places[replica].credits += number
                else:
                    places[replica].recalled = -number
                self.lines[replica].up.append(("credit" if number > 0 else "recall", abs(number)))

    def check(self) -> None:
        granted = sum(line.seat.credits + line.seat.jobs for line in self.lines.values())
        assert granted <= self.most
        for replica, line in self.lines.items():
            there = self.schedules[replica]._force.workers[line.worker].credits
            up = sum(number for kind, number in line.up if kind == "credit")
            down = sum(number if kind == "returned" else kind == "job" for kind, number in line.down)
            assert line.seat.credits == there + up + down
            assert sum(kind == "recall" for kind, _ in line.up) + sum(kind == "returned" for kind, _ in line.down) <= 1

    def calm(self) -> None:
        """All connections are made, nothing new comes, everything arrives."""
        for replica in range(3):
            if replica not in self.lines:
                self.toggle(replica)
        while self.running or any(schedule.waiting for schedule in self.schedules):
            while any(line.up or line.down for line in self.lines.values()):
                for replica in range(3):
                    for act in (self.upward, self.downward):
                        act(replica)
                        self.settle()
                        self.check()
            self.finish(0)
            for replica, schedule in enumerate(self.schedules):
                self.lines[replica].down.append(("demand", schedule.waiting))
            self.settle()


@pytest.mark.parametrize("seed", range(40))
def test_no_credit_is_lost_or_invented(seed):
    world = World(seed)
    for _ in range(400):
        world.step()
    world.calm()
    assert world.served > 20
    assert [schedule.waiting for schedule in world.schedules] == [0, 0, 0]
    held = sum(line.seat.credits + line.seat.jobs for line in world.lines.values())
    assert held == world.slots


def test_new_addresses_are_connected_to_and_those_that_are_gone_are_left_late():
    due = changes({"10.0.0.1", "10.0.0.2", "fd00::2"}, {"10.0.0.1": 100.0}, {}, 100.0)
    assert (due.connect, due.leave) == (("10.0.0.2",), ())
    gone = {"10.0.0.1": 100.0, "10.0.0.2": 100.0 + GONE_S}
    assert changes({"10.0.0.2"}, gone, {}, 100.0 + GONE_S).leave == ()
    assert changes({"10.0.0.2"}, gone, {}, 100.1 + GONE_S).leave == ("10.0.0.1",)


def test_a_second_address_of_a_replica_is_tried_again_later_only():
    avoid = {"10.0.0.2": 100.0 + ALIAS_S}
    assert changes({"10.0.0.1", "10.0.0.2"}, {"10.0.0.1": 100.0}, avoid, 101.0).connect == ()
    assert changes({"10.0.0.1", "10.0.0.2"}, {"10.0.0.1": 100.0}, avoid, 200.0).connect == ("10.0.0.2",)
