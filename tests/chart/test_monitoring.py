"""Alerts, dashboard and scrape targets of the chart: promtool reads every query and makes every alert fire."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace_api.load import ModelLoad
from headrace_operator.admission.metrics import AdmissionMetrics
from headrace_operator.metrics import OperatorMetrics
from headrace_operator.metrics.api import ApiMetrics
from headrace_queue.ledger.metrics import LedgerMetrics, WebhookMetrics
from headrace_queue.metrics import LoadCollector
from headrace_queue.metrics import Metrics as QueueMetrics
from headrace_worker.metrics import Metrics as WorkerMetrics
from toolbox import debian

pytestmark = pytest.mark.cluster  # helm and promtool are got as the cluster's programs are

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = [f"monitoring.{part}.enabled=true" for part in ("podMonitors", "alerts", "dashboard")]
KINDS = ("PodMonitor", "PrometheusRule")


@pytest.fixture(scope="module")
def promtool():
    program = debian.unpacked("prometheus") / "usr/bin/promtool"

    def run(*arguments, folder):
        return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def rules(rendered):
    (rule,) = [one for one in rendered(*EVERYTHING) if one["kind"] == "PrometheusRule"]
    return rule["spec"]


@pytest.fixture(scope="module")
def board(rendered):
    (board,) = [one for one in rendered(*EVERYTHING) if one["metadata"]["name"] == "release-dashboard"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    return json.loads(board["data"]["headrace.json"])


def alerts(rules):
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


def queries(board):
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_nothing_of_it_is_there_by_default(rendered):
    assert not [one for one in rendered() if one["kind"] in KINDS or one["metadata"]["name"] == "release-dashboard"]


def test_promtool_accepts_the_rules_and_every_alert_fires_when_it_should(rules, promtool, tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = Path(__file__).with_name("alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(tests)
    done = promtool("test", "rules", "alerts.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = [case for test in yaml.safe_load(tests)["tests"] for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
    quiet = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert firing == quiet == set(alerts(rules))


def test_a_test_that_expects_the_wrong_thing_fails(rules, promtool, tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    tests = Path(__file__).with_name("alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(tests.replace("model: broken,", "model: other,"))
    done = promtool("test", "rules", "alerts.yaml", folder=tmp_path)
    assert done.returncode != 0
    assert "HeadraceModelStalled" in done.stdout + done.stderr


def test_promtool_reads_every_query_of_the_dashboard(board, promtool, tmp_path):
    """As recording rules, for these are parsed and type-checked as Prometheus would."""
    variables = {"$__rate_interval": "5m", "$namespace": "here"}
    recorded = []
    for number, query in enumerate(queries(board)):
        for name, value in variables.items():
            query = query.replace(name, value)  # noqa: PLW2901
        assert "$" not in query
        recorded.append({"record": f"query:{number}", "expr": query})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    checked = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout


def test_the_panels_lie_beside_each_other(board):
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
    assert {x for x, _ in places} == {0, 8, 16}


def scraped():
    """Every sample name that Prometheus can get of the three programs, with its labels' names."""
    operator, queue = CollectorRegistry(), CollectorRegistry()
    model = {
        "metadata": {"namespace": "m", "name": "a"},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "X", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ]
        },
    }
    OperatorMetrics(operator, ApiMetrics(operator), lambda: [model], lambda _: 1)
    AdmissionMetrics(operator)
    QueueMetrics(queue)
    LedgerMetrics(queue)
    WebhookMetrics(queue)
    queue.register(LoadCollector(lambda: {"m": ModelLoad()}, str, lambda: 0))
    found = {"up"}
    for registry in (operator, queue, WorkerMetrics().registry):
        text = generate_latest(registry).decode()
        for family in text_string_to_metric_families(text):
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            found |= {family.name + ending for ending in endings}
    return found


def test_every_metric_that_alerts_and_dashboard_name_exists(rules, board):
    used = " ".join([*(rule["expr"] for rule in alerts(rules).values()), *queries(board)])
    named = set(re.findall(r"\b(?:headrace_\w+|up\b)", used))
    assert len(named) > 25
    assert named - scraped() == set()


def test_each_alert_has_a_section_in_the_docs_that_says_what_to_do(rules):
    page = (ROOT / "docs" / "operations.md").read_text()
    sections = dict(re.findall(r"^### (Headrace\w+)\n+(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(alerts(rules))
    for name, text in sections.items():
        assert len(text) > 150, name
        assert alerts(rules)[name]["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"


def test_alerts_can_be_left_out_and_labelled(rendered):
    options = ("monitoring.alerts.disabled={HeadraceRenderPending}", "monitoring.alerts.labels.release=prometheus")
    (rule,) = [one for one in rendered(*EVERYTHING, *options) if one["kind"] == "PrometheusRule"]
    assert "HeadraceRenderPending" not in alerts(rule["spec"])
    assert "HeadraceQueueDown" in alerts(rule["spec"])
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_pod_monitors_find_the_pods_and_their_ports(rendered):
    objects = rendered(*EVERYTHING, "monitoring.podMonitors.labels.team=ml")
    monitors = [one for one in objects if one["kind"] == "PodMonitor"]
    deployments = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Deployment"}
    assert {one["metadata"]["name"] for one in monitors} == {"release-operator", "release-queue"}
    for monitor in monitors:
        pod = deployments[monitor["metadata"]["name"]]["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert endpoint["port"] in ports
        job = pod["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        assert (
            job
            == {"release-operator": "headrace-operator", "release-queue": "headrace-queue"}[monitor["metadata"]["name"]]
        )
        assert monitor["metadata"]["labels"]["team"] == "ml"


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ((), False),
        (("monitoring.podMonitors.enabled=true",), True),
        (("monitoring.alerts.enabled=true",), True),
        (("monitoring.alerts.enabled=true", "networkPolicies.enabled=false"), False),
        (("monitoring.podMonitors.enabled=true", "networkPolicies.prometheus[0].podSelector.a=b"), False),
    ],
)
def test_metrics_that_no_policy_lets_out_are_warned_of(notes, values, warned):
    text = notes(*values)
    assert text.startswith("Headrace ")
    assert ("WARNING: networkPolicies.prometheus is empty" in text) == warned


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("monitoring.alerts.disabled={Other}", "disabled"),
        ("monitoring.podMonitors.interval=often", "interval"),
        ("monitoring.dashboards.enabled=true", "dashboards"),
        ("monitoring.dashboard.labels.grafana_dashboard=1", "grafana_dashboard"),
    ],
)
def test_wrong_values_are_refused_by_name(helm, value, words):
    result = helm("template", "release", str(ROOT / "charts/headrace"), "--set", value)
    assert result.returncode != 0
    assert words in result.stderr
