"""The memory of pure functions."""

from dataclasses import dataclass

from headrace_operator import remember
from headrace_operator.remember import remembered


@dataclass(frozen=True, eq=False)
class Thing:
    value: int


def counting():
    calls = []

    @remembered
    def double(thing, text=""):
        calls.append(thing)
        return f"{thing.value * 2}{text}"

    return double, calls


def test_the_same_object_is_calculated_with_once():
    double, calls = counting()
    thing = Thing(2)
    assert [double(thing), double(thing)] == ["4", "4"]
    assert calls == [thing]


def test_other_objects_and_other_texts_are_told_apart():
    double, calls = counting()
    thing = Thing(2)
    assert [double(thing), double(Thing(3)), double(thing, "x"), double(thing, "y")] == ["4", "6", "4x", "4y"]
    assert len(calls) == 4


def test_an_object_that_took_the_place_of_another_in_memory_is_not_taken_for_it():
    double, _ = counting()
    assert all(double(Thing(value)) == str(value * 2) for value in range(1000))


def test_the_memory_is_bounded_and_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(remember, "_RESULTS", 2)
    double, calls = counting()
    things = [Thing(value) for value in range(3)]
    for thing in things:
        double(thing)
    double(things[2])
    assert calls == things
    double(things[0])
    assert calls == [*things, things[0]]


def test_long_texts_are_forgotten_sooner(monkeypatch):
    monkeypatch.setattr(remember, "_TEXT", 10)
    double, calls = counting()
    thing = Thing(2)
    assert [len(double(thing, text)) for text in ("a" * 4, "b" * 4, "c" * 4)] == [5, 5, 5]
    double(thing, "b" * 4)
    assert len(calls) == 3
    double(thing, "a" * 4)
    assert len(calls) == 4
    assert [len(double(thing, "x" * 11)) for _ in range(2)] == [12, 12]  # never kept
    assert len(calls) == 6
    double(thing)
    double(thing)
    assert len(calls) == 7
