"""`headrace simulate`: what it replays, what it counts, what it draws, and a whole day."""

import json
import math
import random
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.errors import Trouble
from headrace_cli.simulation.picture import picture
from headrace_cli.simulation.run import Simulation
from headrace_cli.simulation.summary import figures, percentile
from headrace_cli.simulation.trace import Arrival, Trace, read_trace
from headrace_cli.sources import Source

POLICY = {
    "minReplicas": 0,
    "maxReplicas": 4,
    "targetOngoingRequestsPerReplica": 2,
    "metricsIntervalSeconds": 1,
    "lookBackPeriodSeconds": 3,
    "upscaleDelaySeconds": 5,
    "downscaleDelaySeconds": 20,
}


def spec(replicas=1, gpus=1, **autoscaling):
    return InferenceModelSpec.model_validate(
        {
            "replicas": replicas,
            "deployment": {"autoscaling": POLICY | autoscaling} if autoscaling is not None else {},
            "engine": {"type": "VLLMEngine", "modelId": "m"},
            "scaling": {"numWorkers": gpus},
        }
    )


def fixed(replicas):
    return InferenceModelSpec.model_validate(
        {"replicas": replicas, "engine": {"type": "VLLMEngine", "modelId": "m"}, "deployment": {}}
    )


def simulate(model, arrivals, seconds, cold_start=10.0, slots=2):
    return Simulation(model, Trace([Arrival(*one) for one in arrivals], seconds), cold_start, slots).run()


def trace(text, service_time=5.0):
    return read_trace(Source("t.csv", text), service_time)


def test_a_first_request_waits_for_the_cold_start():
    outcome = simulate(spec(), [(100.0, 4.0)], 200.0)
    assert outcome.waits == [(100.0, 10.0)]
    assert outcome.cold_starts == 1
    (up, replicas, reason), (down, none, _) = outcome.decisions
    assert (up, replicas, none) == (100.0, 1, 0)
    assert reason == "1 request waiting and no worker: 0 -> 1 at once, target 2 per replica"
    # answered at 114; the average over the 3 s before 117 is the first without it, and holds for 20 s
    assert 136 <= down <= 138
    assert outcome.worker_seconds == down - up
    assert outcome.work_seconds == 4.0


def test_a_fixed_number_of_workers_is_a_plain_queue():
    outcome = simulate(fixed(2), [(0.0, 10.0)] * 3 + [(1.0, 10.0)] * 2, 60.0, slots=1)
    assert [wait for _, wait in outcome.waits] == [0.0, 0.0, 10.0, 9.0, 19.0]
    assert outcome.decisions == []
    assert outcome.worker_seconds == 2 * 60.0


def test_without_workers_and_without_autoscaling_requests_wait_to_the_end():
    outcome = simulate(fixed(0), [(10.0, 1.0)], 60.0)
    assert outcome.waits == [(10.0, 50.0)]
    assert figures(outcome, 1, 1)["slots_used"] == 0


def test_the_least_loaded_go_and_finish_what_they_have():
    # 8 requests at 0: 4 workers; two of them get long ones
    arrivals = [(0.0, 300.0), (0.0, 2.0), (0.0, 2.0), (0.0, 2.0), (0.0, 300.0), (0.0, 2.0), (0.0, 2.0), (0.0, 2.0)]
    outcome = simulate(spec(), arrivals, 400.0)
    assert [replicas for _, replicas, _ in outcome.decisions[:4]] == [1, 2, 3, 4]
    assert len(outcome.waits) == 8
    assert {state.running for state in outcome.states if 15 < state.time < 300} == {2}, "nothing was lost"
    assert outcome.states[-1].running == 0


def test_a_trace_of_requests():
    found = trace("time_s,duration_s\n0,1.5\n2,3\n2,4\n")
    assert found.arrivals == [Arrival(0, 1.5), Arrival(2, 3), Arrival(2, 4)]
    assert found.seconds == 2


def test_a_trace_of_counts_is_spread_over_each_period():
    found = trace("time_s, requests\n0, 2\n60, 0\n120, 3\n", service_time=7)
    assert [one.time for one in found.arrivals] == [0, 30, 120, 140, 160]
    assert {one.duration for one in found.arrivals} == {7}
    assert found.seconds == 180


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "t.csv:1: no column time_s; accepted: time_s (seconds"),
        ("time,requests\n0,1\n", "t.csv:1: no column time_s"),
        ("time_s,tokens\n0,1\n", "t.csv:1: unknown column 'tokens'"),
        ("time_s\n", "t.csv: no rows below the header"),
        ("time_s\nsoon\n", "t.csv:2: time_s: 'soon' is not a number from 0 on"),
        ("time_s\n-1\n", "t.csv:2: time_s: '-1' is not a number from 0 on"),
        ("time_s\nnan\n", "t.csv:2: time_s: 'nan' is not"),
        ("time_s,requests\n0,1.5\n", "t.csv:2: requests: '1.5' is not a whole number from 0 on"),
        ("time_s,requests\n0\n", "t.csv:2: requests: '' is not a whole number"),
        ("time_s,duration_s\n0,0\n", "t.csv:2: duration_s: '0' is not a number above 0"),
        ("time_s\n5\n4\n", "t.csv:3: time_s: 4 comes before the 5 of the row above"),
        ("time_s,requests\n0,99999999\n", "t.csv: 99999999 requests are more than 10000000"),
        ("time_s,requests\n0,1,2\n", "t.csv:2: more cells than the header has"),
    ],
)
def test_a_wrong_trace_is_told_by_line_and_column(text, words):
    with pytest.raises(Trouble) as error:
        trace(text)
    assert str(error.value).startswith(words)
    assert "accepted" in str(error.value) or "take a part" in str(error.value)


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, 0), ([1], 0.99, 1), ([1, 2, 3, 4], 0.5, 2), ([1, 2, 3, 4], 1.0, 4)]
)
def test_percentiles(values, share, expected):
    assert percentile(values, share) == expected


def a_day(seed=7):
    """Requests of a working day, at random: none at night, a lunch break, a burst in the afternoon."""
    chance = random.Random(seed)  # noqa: S311
    arrivals, time = [], 0.0
    while True:
        hour = time / 3600
        rate = 0.6 * math.sin(math.pi * (hour - 7) / 13) if 7 < hour < 20 else 0.0
        rate *= 0.4 if 12 < hour < 13 else 3 if 15 < hour < 15.25 else 1
        time += chance.expovariate(1.0)  # thinned below: the chance of a request in this second
        if time >= 86400:
            return arrivals
        if chance.random() < rate / 2:
            arrivals += [(time, chance.lognormvariate(1.5, 0.5))] * 2


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.5, 1, 3])
def test_a_day(smoothing):
    policy = {"metricsIntervalSeconds": 10, "lookBackPeriodSeconds": 30, "downscaleDelaySeconds": 600}
    model = spec(**policy, maxReplicas=8, upscaleDelaySeconds=30, smoothingFactor=smoothing)
    arrivals = a_day()
    outcome = simulate(model, arrivals, 86400.0, cold_start=120.0, slots=4)
    found = figures(outcome, 1, 4)
    assert found["requests"] == len(arrivals) > 5000
    assert all(0 <= state.desired <= 8 for state in outcome.states)
    night = {state.desired for state in outcome.states if state.time < 6 * 3600 or state.time > 22 * 3600}
    assert night == {0}
    assert found["cold_starts"] <= 3
    assert found["wait_max_s"] <= 120 + 60  # a cold start, and then the requests that came meanwhile
    assert found["wait_p95_s"] <= 10
    always = figures(simulate(fixed(8), arrivals, 86400.0, slots=4), 1, 4)
    assert found["gpu_hours"] < always["gpu_hours"] / 3
    assert found["scale_changes"] < 60  # it does not swing
    times = [time for time, _, _ in outcome.decisions]
    sizes = [0, *(replicas for _, replicas, _ in outcome.decisions)]
    downs = [time for time, (before, after) in zip(times, pairwise(sizes), strict=True) if after < before]
    ups = [time for time, (before, after) in zip(times, pairwise(sizes), strict=True) if after > before]
    for down in downs:
        assert not [up for up in ups if down - 600 < up < down], "what was asked for is kept for the delay"


def test_the_picture_shows_replicas_requests_and_waiting_times():
    outcome = simulate(spec(), [(100.0, 4.0), (101.0, 4.0)], 200.0)
    root = ET.fromstring(picture("a <model> & more", outcome))  # noqa: S314
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a <model> & more"
    assert {"Replicas", "Requests", "ready", "asked for", "running", "waiting for a worker", "worst"} <= set(texts)
    width = float(root.get("width"))
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        assert "nan" not in path.get("d")
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.get("x")) <= width


def test_a_picture_of_nothing_is_empty_and_no_error():
    assert "Replicas" in picture("m", simulate(fixed(0), [], 0.0))


def test_the_command(headrace, model_text, tmp_path):
    day, out = tmp_path / "day.csv", tmp_path / "day.svg"
    day.write_text("time_s,requests\n0,10\n60,0\n")
    text = model_text.replace("spec: {", "spec: {deployment: {autoscaling: {minReplicas: 0, maxReplicas: 3}}, ")
    shown = headrace("simulate", "-", "--trace", str(day), "--out", str(out), text=text)
    assert shown.status == 0, shown.err
    assert shown.out.startswith("requests      10 in ")
    assert out.read_text().startswith("<svg ")
    options = ("--cold-start", "0", "--service-time", "1", "--concurrency", "10", "--format", "json")
    quick = headrace("simulate", "-", "--trace", str(day), *options, text=text)
    found = json.loads(quick.out)
    assert (found["requests"], found["cold_starts"], found["wait_max_s"]) == (10, 1, 0)


def test_the_command_needs_one_model(headrace, model_text, tmp_path):
    day = tmp_path / "day.csv"
    day.write_text("time_s\n0\n")
    several = f"{model_text}---\n{model_text.replace('name: m', 'name: n')}"
    asked = headrace("simulate", "-", "--trace", str(day), text=several)
    assert asked.status == 1
    assert "has several models; accepted for --name: m, n" in asked.err
    assert headrace("simulate", "-", "--trace", str(day), "--name", "n", text=several).status == 0
    assert "no model 'x'" in headrace("simulate", "-", "--trace", str(day), "--name", "x", text=several).err
    nowhere = headrace("simulate", "-", "--trace", str(day), "--out", str(tmp_path / "no" / "x.svg"), text=model_text)
    assert (nowhere.status, "No such file or directory" in nowhere.err) == (2, True)
