"""What is measured of the ledger itself."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class LedgerMetrics:
    """The counters and gauges, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter(
            "headrace_queue_ledger_rows", "Rows committed to the ledger, by outcome.", ("outcome",), registry=registry
        )
        self.doubtful = Counter(
            "headrace_queue_ledger_doubtful_rows", "Rows of which something is not certain, by what it is.",
            ("doubt",), registry=registry,
        )  # fmt: skip
        self.unwritten = Gauge(
            "headrace_queue_ledger_unwritten_rows", "Rows that wait to be committed.", registry=registry
        )
        self.up = Gauge("headrace_queue_ledger_up", "1 while the ledger can be written.", registry=registry)
        self.rejected = Counter(
            "headrace_queue_ledger_rejected_rows", "Rows that the database does not take; the log has them.",
            registry=registry,
        )  # fmt: skip
        self.commit_seconds = Histogram(
            "headrace_queue_ledger_commit_seconds", "How long a commit of rows takes.",
            buckets=_COMMIT_SECONDS, registry=registry,
        )  # fmt: skip


class WebhookMetrics:
    """How the webhook's messages go."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "headrace_queue_webhook_attempts", "Messages sent to the webhook, by result.",
            ("result",), registry=registry,
        )  # fmt: skip
        self._rows = Gauge(
            "headrace_queue_webhook_undelivered_rows", "Rows that the webhook has not accepted.", registry=registry
        )
        self._oldest = Gauge(
            "headrace_queue_webhook_oldest_seconds", "How old the oldest message is that is not accepted.",
            registry=registry,
        )  # fmt: skip

    def show(self, rows: int, oldest_seconds: float) -> None:
        """What is not delivered now."""
        self._rows.set(rows)
        self._oldest.set(oldest_seconds)
