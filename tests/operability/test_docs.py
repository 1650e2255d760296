"""docs/operations.md names every metric of the operator, with the words that Prometheus gets."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from headrace_operator.admission.metrics import AdmissionMetrics
from headrace_operator.election.candidate import Candidate
from headrace_operator.election.leadership import Leadership
from headrace_operator.metrics import OperatorMetrics
from headrace_operator.metrics.api import ApiMetrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
_PROCESS = "headrace_operator_process_"
_ENDINGS = {"counter": "_total", "info": "_info"}


def table() -> str:
    """The rows that the page must have; the process's own metrics are the same for every program."""
    registry = CollectorRegistry()
    OperatorMetrics(registry, ApiMetrics(registry), list, lambda _: 1)
    AdmissionMetrics(registry)
    Candidate(None, Leadership(), None, registry)
    rows = []
    for collector in registry._collector_to_names:
        for family in collector.collect():
            if family.name.startswith(_PROCESS):
                continue
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            name = family.name + _ENDINGS.get(family.type, "")
            rows.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |")
    return "".join(f"{row}\n" for row in sorted(rows))


def test_the_page_has_every_metric_and_no_other():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `headrace_operator_")]
    assert "".join(f"{row}\n" for row in rows) == table(), f"the rows should be:\n{table()}"
