"""Whom a replica asks for credits, and how near several replicas come to one queue."""

import random
import xml.etree.ElementTree as ET

import pytest
from tests.bench.scaling_out.load import Fleet, ideal, requests
from tests.bench.scaling_out.picture import compare, drawn, figures
from tests.bench.scaling_out.simulate import Simulation

from headrace_api.wire import Demand
from headrace_queue.demand import _AGAIN_S, MOST, Asking, Wait


def asking() -> Asking:
    return Asking(random.Random(1))  # noqa: S311


def test_a_few_are_asked_for_what_waits_together():
    everybody = range(1000)
    told = asking().due([Wait(70, 7.0, everybody)], 10.0, everybody)
    assert len(told) == MOST
    assert sum(one.n for one in told.values()) >= 70
    assert {one.waited_s for one in told.values()} == {3.0}
    assert len(asking().due([Wait(1, 7.0, everybody)], 10.0, everybody)) == 2


def test_all_are_asked_in_time_and_nobody_twice_at_once():
    ask, asked, now = asking(), set(), 0.0
    for _ in range(200):
        now += _AGAIN_S / 100
        told = ask.due([Wait(8, 0.0, range(100))], now, range(100))
        if now < _AGAIN_S:
            assert not told.keys() & asked
        asked |= told.keys()
    assert asked == set(range(100))


def test_who_brought_credits_is_told_what_is_wanted_now_and_the_others_when_it_is_over():
    ask = asking()
    assert ask.due([Wait(9, 0.0, [1, 2, 3])], 1.0, {1, 2, 3}) == dict.fromkeys([1, 2, 3], Demand(n=3, waited_s=1.0))
    ask.brought(2)
    ask.brought(4)
    assert ask.due([Wait(6, 0.5, [1, 2, 3])], 1.01, {1, 2, 3}) == {2: Demand(n=2, waited_s=0.51)}
    ask.forget(3)
    assert ask.due([], 1.02, {1, 2}) == {1: Demand(n=0), 2: Demand(n=0)}
    assert ask.quiet
    assert ask.due([], 1.03, {1, 2}) == {}


def test_workers_that_do_not_share_are_not_asked_and_several_models_are_added_up():
    waits = [Wait(2, 1.0, [1, 2]), Wait(3, 0.0, [1])]
    assert asking().due(waits, 2.0, {1}) == {1: Demand(n=5, waited_s=2.0)}


SMALL = Fleet(replicas=4, workers=30, slots=3)


@pytest.mark.parametrize("skew", [0.0, 0.9])
def test_moving_credits_come_near_one_queue_and_none_is_lost(skew):
    asked = requests(SMALL, ((4, 0.7), (4, 1.2), (4, 0.6)), 3, skew)
    simulation = Simulation(SMALL, asked)
    waits = simulation.run().waits
    assert simulation.held() == 90
    best = ideal(SMALL, asked)
    assert sum(waits) < 1.25 * sum(best) + 0.01 * len(asked)
    assert sum(Simulation(SMALL, asked, moving=False).run().waits) > 1.3 * sum(best)


def test_the_picture_and_the_table_are_made():
    found = compare(SMALL, ((2, 0.7), (2, 1.2)))
    picture = ET.fromstring(drawn(found, "four replicas"))  # noqa: S314 - made just now
    texts = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"four replicas", "one ideal queue", "credits move", "slots divided for good"} <= set(texts)
    values = figures(found)
    assert values["requests"] == len(found.asked)
    assert values["ideal_mean"] <= values["moved_mean"] <= values["divided_mean"]
