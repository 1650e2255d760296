"""The pure parts of `headrace status`, `logs` and `top`; tests/operability has a real API server."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace_cli.logs import _in_order
from headrace_cli.queues import place_of
from headrace_cli.status_page import sections
from headrace_cli.top_usage import Usage, accelerators, token_rates, tokens
from headrace_cli.words import age, cause_and_hint, pod_state, readiness, restarts
from headrace_cli.worker_usage import Reading, metrics_path, row

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def condition(kind, status, reason="R", message="m"):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T23:57:00Z",
    }


def model(*conditions, generation=1, **status):
    return {
        "metadata": {"namespace": "models", "name": "a", "generation": generation, "uid": "u"},
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("2026-01-01T23:59:59Z", "1 s"),
        ("2026-01-01T23:58:59Z", "1 min"),
        ("2026-01-01T21:00:00Z", "3 h"),
        ("2025-12-01T00:00:00Z", "32 d"),
        ("2026-01-02T00:00:05Z", "0 s"),
        (None, "-"),
    ],
)
def test_an_age_has_one_unit(then, expected):
    assert age(then, NOW) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (model(condition("Ready", "True"), condition("Stalled", "False")), "Ready"),
        (model(condition("Ready", "False"), condition("Stalled", "False")), "Progressing"),
        (model(condition("Ready", "False"), condition("Stalled", "True")), "Stalled"),
        (model(condition("Ready", "True"), generation=2), "outdated: the operator has not seen the newest spec yet"),
        ({"metadata": {"name": "a", "namespace": "m"}}, "not seen by an operator yet"),
    ],
)
def test_readiness_in_words(given, expected):
    assert readiness(given) == expected


def test_a_hint_is_told_apart_from_the_cause():
    assert cause_and_hint("it is full. To mend it: empty it") == ("it is full.", "empty it")
    assert cause_and_hint("it is full") == ("it is full", "")


def pod(*containers, phase="Running", deleting=False, ready=False, scheduled=True, init=()):
    conditions = [
        {"type": "Ready", "status": str(ready)},
        {"type": "PodScheduled", "status": str(scheduled)},
    ]
    metadata = {"name": "p", "creationTimestamp": "2026-01-01T23:00:00Z"}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T23:59:00Z"
    status = {"phase": phase, "conditions": conditions, "containerStatuses": list(containers)}
    return {"metadata": metadata, "spec": {}, "status": {**status, "initContainerStatuses": list(init)}}


FETCHED = {"name": "fetch", "state": {"terminated": {"exitCode": 0}}}


def container(**state):
    return {"name": "worker", "restartCount": 2, "state": state}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pod(container(running={}), ready=True), "Ready"),
        (pod(container(running={})), "Running, not ready"),
        (pod(container(waiting={"reason": "CrashLoopBackOff"})), "CrashLoopBackOff"),
        (pod(container(terminated={"exitCode": 137, "reason": "OOMKilled"})), "OOMKilled"),
        (pod(container(terminated={"exitCode": 3})), "exit status 3"),
        (
            pod(container(running={}), init=[{"name": "fetch", "state": {"terminated": {"exitCode": 0}}}]),
            "Running, not ready",
        ),
        (pod(phase="Pending", scheduled=False), "Unschedulable"),
        (pod(phase="Pending"), "Pending"),
        (pod(container(running={}), ready=True, deleting=True), "Terminating"),
    ],
)
def test_a_pods_state_in_a_word(given, expected):
    assert pod_state(given) == expected


def test_restarts_are_added_up():
    assert restarts(pod(container(), container())) == 4
    assert restarts({"metadata": {}}) == 0


def test_a_whole_page():
    given = model(
        condition("Ready", "False", "ImageNotAvailable", "no such image. To mend it: push it"),
        condition("Stalled", "True", "ImageNotAvailable", "no such image"),
        modelName="org/a",
        endpoint="http://queue/v1",
        workers="0/2",
        queued=3,
        running=0,
        scaling={
            "desiredReplicas": 2,
            "decidedBy": "autoscaler",
            "reason": "3 requests",
            "time": "2026-01-01T23:59:00Z",
        },
        rollout={"revision": "r2", "readyRevision": "r1", "failedRevision": "r0"},
        pendingRender={"revision": "r3", "changes": ["spec.image"]},
        starting=[
            {"worker": "p", "state": "fetching", "detail": "a", "doneBytes": 32 * 10**8, "totalBytes": 141 * 10**8},
            {"worker": "lab", "state": "loading"},
        ],
    )
    first, conditions, workers, starting, events = sections(
        given,
        [pod(container(waiting={"reason": "ImagePullBackOff"}))],
        [{"lastTimestamp": "2026-01-01T23:59:30Z", "type": "Warning", "reason": "X", "message": "y"}],
        NOW,
    )
    assert dict(first.rows) == {
        "Model": "models/a",
        "Clients ask for": "org/a",
        "At": "http://queue/v1",
        "State": "Stalled for 3 min",
        "Why": "ImageNotAvailable: no such image.",
        "To mend it": "push it",
        "Workers": "0/2",
        "Requests": "3 waiting, 0 running",
        "Scaling": "2 workers, decided by autoscaler 1 min ago: 3 requests",
        "Rollout": "revision r2, replaces r1, r0 was stopped",
        "Pending": "revision r3 would change spec.image; kubectl annotate -n models "
        "inferencemodels.headrace.dev a --overwrite headrace.dev/approve-render=r3",
    }
    assert [row[0] for row in conditions.rows] == ["Ready", "Stalled"]
    assert workers.rows == [("p", "ImagePullBackOff", "2", "1 h", "-", "-")]
    assert starting.rows == [("p", "fetching", "3.2 of 14.1 GB", "a"), ("lab", "loading", "-", "-")]
    assert events.rows == [("30 s", "Warning", "X", "y")]


def test_a_model_that_nobody_has_seen_has_a_page():
    (only,) = sections({"metadata": {"namespace": "m", "name": "a"}}, [], [], NOW)
    assert dict(only.rows) == {"Model": "m/a", "State": "not seen by an operator yet"}


def test_lines_of_all_workers_are_put_in_the_order_of_time():
    lines = [
        "[pod/a/worker] 2026-01-01T00:00:01.5Z one",
        "[pod/a/worker] 2026-01-01T00:00:03Z three",
        "error: c is gone",
        "[pod/b/worker] 2026-01-01T00:00:02Z two",
    ]
    assert _in_order(lines) == [lines[0], lines[3], lines[1], lines[2]]


def test_accelerators_of_all_vendors_count_once_the_pod_has_a_node():
    limits = [{"nvidia.com/gpu": "2", "cpu": "8"}, {"nvidia.com/mig-1g.5gb": "1"}, {"amd.com/gpu": "1"}, {}]
    spec = {"nodeName": "n", "containers": [{"resources": {"limits": one}} for one in limits]}
    assert accelerators({"spec": spec}) == 4
    assert accelerators({"spec": {**spec, "nodeName": None}}) == 0
    assert accelerators({"spec": spec, "status": {"phase": "Failed"}}) == 0


def test_token_rates_over_two_queues_of_which_one_began_anew():
    kinds = {"prompt": 10.0, "completion": 5.0}
    lines = [f'headrace_queue_tokens_total{{kind="{kind}",model="a"}} {count}\n' for kind, count in kinds.items()]
    assert tokens("".join(lines) + 'headrace_queue_requests_total{model="a"} 3\n') == {"a": 15.0}
    assert tokens('headrace_queue_tokens_total{model="x\\"y\\\\",kind="c"} 1e3\n') == {'x"y\\': 1000.0}
    before, after = [{"a": 10.0}, {"a": 100.0}], [{"a": 30.0, "b": 4.0}, {"a": 6.0}]
    assert token_rates(before, after, 2.0) == {"a": 13.0, "b": 2.0}


def test_a_row_of_top():
    given = model(condition("Ready", "True"), modelName="org/a", workers="1/2", queued=4, running=2)
    held = {("models", "a"): 8}
    assert Usage.of(given, held, {"org/a": 12.34}).row() == ("models", "a", "1/2", "4", "2", "8", "12.3")
    assert Usage.of(given, held, {}).row()[-1] == "0.0"
    assert Usage.of(given, None, {}).row()[5] == "-"
    assert Usage.of(given, {}, None).row() == ("models", "a", "1/2", "4", "2", "0", "-")


def worker_pod(running=True, port=4000):
    state = {"running": {}} if running else {"waiting": {"reason": "ImagePullBackOff"}}
    ports = [{"name": "metrics", "containerPort": port}]
    return {
        "metadata": {"name": "a-1", "namespace": "models", "creationTimestamp": "2026-01-01T23:00:00Z"},
        "spec": {"containers": [{"name": "other"}, {"name": "worker", "ports": ports}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "worker", "state": state}]},
    }


def page(state="ready", tokens=0, **gauges):
    lines = ["# HELP headrace_worker_state 1 for the state that it is in.", 'vllm:tokens_total{kind="prompt"} 7.0']
    lines += [f'headrace_worker_state{{state="{one}"}} {float(one == state)}' for one in ("fetching", "ready")]
    lines += [f'headrace_worker_tokens_total{{kind="{kind}"}} {tokens}' for kind in ("prompt", "completion")]
    return "\n".join([*lines, *(f"headrace_worker_{name} {float(value)}" for name, value in gauges.items())])


def test_a_workers_row_of_top():
    gauges = {"requests_in_flight": 3, "slots": 8, "credits": 5, "fetch_bytes": 9, "fetch_total_bytes": 9}
    before, now = Reading.of(page(tokens=10, **gauges), 100.0), Reading.of(page(tokens=16, **gauges), 102.0)
    assert row(worker_pod(), before, now) == ("a-1", "ready", "-", "3", "8", "5", "6.0")
    assert row(worker_pod(), None, now)[-1] == "-"
    anew = Reading.of(page(tokens=1, **gauges), 102.0)
    assert row(worker_pod(), before, anew)[-1] == "1.0"
    fetching = Reading.of(page("fetching", fetch_bytes=12e8, fetch_total_bytes=41e8), 1.0)
    assert row(worker_pod(), None, fetching) == ("a-1", "fetching", "1.2 of 4.1 GB", "-", "-", "-", "-")
    assert row(worker_pod(running=False), None, None) == ("a-1", "ImagePullBackOff", "-", "-", "-", "-", "-")
    assert row(worker_pod(), None, Reading.of("", 1.0))[:2] == ("a-1", "Running, not ready")


def test_a_worker_is_asked_at_its_metrics_port_while_it_runs():
    assert metrics_path(worker_pod(port=4001)) == "/api/v1/namespaces/models/pods/a-1:4001/proxy/metrics"
    assert metrics_path(worker_pod(running=False)) is None
    bare = worker_pod()
    bare["spec"]["containers"][1]["ports"] = []
    assert metrics_path(bare) is None


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("http://headrace-queue.headrace.svc:8080/v1", ("headrace", "headrace-queue-admin")),
        ("https://q.ns.svc.cluster.local/v1", ("ns", "q-admin")),
        ("https://queue.example.com/v1", None),
        ("http://10.0.0.1:8080/v1", None),
        ("", None),
    ],
)
def test_the_queues_admin_service_by_the_models_endpoint(endpoint, place):
    assert place_of(endpoint) == place


KUBECTL = """#!/bin/sh
echo "$*" >> "$0.calls"
case "$*" in
    *"get inferencemodels"*) cat "$0.models" ;;
    *"get pods"*) [ -e "$0.pods" ] && cat "$0.pods" || { echo "Error from server (Forbidden): not you" >&2; exit 1; } ;;
    */pods/a-1:4000/proxy/metrics*)
        echo x >> "$0.asked"
        cat "$0.page$(wc -l < "$0.asked")" 2>/dev/null ||
            { echo "Error from server (Forbidden): not you" >&2; exit 1; } ;;
    *services/headrace-queue-admin:admin/proxy/metrics*)
        echo x >> "$0.reads"
        echo "headrace_queue_tokens_total{kind=\\"c\\",model=\\"org/a\\"} $(wc -l < "$0.reads")000" ;;
    *) echo "Error from server (Forbidden): not you" >&2; exit 1 ;;
esac
"""
"""A user who may read models and the metrics of one queue, and nothing else."""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def answer(*models):
        items = {"kind": "List", "items": list(models)} if len(models) != 1 else models[0]
        Path(f"{program}.models").write_text(json.dumps(items))
        return lambda: Path(f"{program}.calls").read_text()

    return answer


def test_what_may_not_be_read_does_not_hide_the_rest(headrace, kubectl):
    kubectl(model(condition("Ready", "False", "Loading"), workers="0/1"))
    result = headrace("status", "a", "-n", "models")
    assert result.status == 0
    assert "Loading: m" in result.out
    assert "without workers: Error from server (Forbidden): not you" in result.err
    assert "without events: Error from server (Forbidden): not you" in result.err


def test_top_asks_the_models_own_queue_and_lists_no_services(headrace, kubectl):
    endpoint = "http://headrace-queue.headrace.svc:8080/v1"
    calls = kubectl(model(condition("Ready", "True"), modelName="org/a", workers="1/1", endpoint=endpoint))
    result = headrace("top", "--seconds", "0.01")
    assert result.status == 0
    *_, held, rate = result.out.rstrip("\n").split("\t")
    assert held == "-"
    assert float(rate) > 0
    assert "without accelerators: Error from server (Forbidden)" in result.err
    assert "tokens per second" not in result.err
    assert "get services" not in calls()
    assert calls().count("/api/v1/namespaces/headrace/services/headrace-queue-admin:admin/proxy/metrics") == 2
    assert calls().count("--request-timeout=5s") == 2


def test_top_of_a_model_asks_its_workers(headrace, kubectl, tmp_path):
    kubectl(model(condition("Ready", "True")))
    other = {**worker_pod(running=False), "metadata": {**worker_pod()["metadata"], "name": "a-2"}}
    (tmp_path / "kubectl.pods").write_text(json.dumps({"kind": "List", "items": [other, worker_pod()]}))
    for time, count in enumerate((100, 300), 1):
        (tmp_path / f"kubectl.page{time}").write_text(page(tokens=count, slots=4))
    result = headrace("top", "a", "--seconds", "0.01")
    assert (result.status, result.err) == (0, "")
    first, second = (line.split("\t") for line in result.out.splitlines())
    assert first[:-1] == ["a-1", "ready", "-", "-", "4", "-"]
    assert 0 < float(first[-1]) < 400 / 0.01
    assert second == ["a-2", "ImagePullBackOff", "-", "-", "-", "-", "-"]
    assert headrace("top", "a", "-A").status == 2


def test_top_of_a_model_whose_workers_may_not_be_asked_says_so(headrace, kubectl, tmp_path):
    kubectl(model(condition("Ready", "False", "Loading")))
    (tmp_path / "kubectl.pods").write_text(json.dumps({"kind": "List", "items": [worker_pod()]}))
    result = headrace("top", "a", "--seconds", "0")
    assert result.out.split("\t")[:2] == ["a-1", "Running, not ready"]
    assert "without the metrics of a-1: Error from server (Forbidden): not you" in result.err
    (tmp_path / "kubectl.pods").write_text(json.dumps({"kind": "List", "items": []}))
    assert "the model a has no workers: Loading: m" in headrace("top", "a").err


def test_top_lists_queues_where_models_name_none_and_says_when_it_may_not(headrace, kubectl):
    calls = kubectl(model(condition("Ready", "True"), endpoint="https://queue.example.com/v1"))
    result = headrace("top")
    assert (result.status, result.out.rstrip("\n").split("\t")[-1]) == (0, "-")
    assert "without tokens per second: Error from server (Forbidden): not you" in result.err
    assert "get services" in calls()
