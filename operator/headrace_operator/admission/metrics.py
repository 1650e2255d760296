"""How many models were reviewed, how that ended and how long it took."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class AdmissionMetrics:
    """Counts per webhook (mutate, validate) and outcome.

    The outcomes: allowed, warned, refused, unchanged (the spec is as it was), unreadable (not an
    AdmissionReview) and error (the webhook failed).
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reviews = Counter(
            "headrace_operator_admission_reviews",
            "Admission reviews by outcome.",
            ["webhook", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "headrace_operator_admission_seconds",
            "Time of one admission review.",
            ["webhook"],
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )

    def count(self, webhook: str, outcome: str, seconds: float) -> None:
        """One review has ended."""
        self._reviews.labels(webhook=webhook, outcome=outcome).inc()
        self._seconds.labels(webhook=webhook).observe(seconds)
