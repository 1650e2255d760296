"""What is counted with every request, next to prometheus_client's own."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.samples import Sample

from headrace_queue.request_metrics import _SECONDS, RequestMetrics

LABELS = st.sampled_from(["a", "b", "other"])


def samples(registry: CollectorRegistry) -> list[Sample]:
    found = [sample for family in registry.collect() for sample in family.samples]
    return sorted((sample for sample in found if not sample.name.endswith("_created")), key=repr)


@given(
    st.lists(st.tuples(LABELS, st.sampled_from([200, 429, 499]))),
    st.lists(st.tuples(LABELS, st.one_of(st.sampled_from(_SECONDS), st.floats(0, 400)))),
    st.lists(st.tuples(LABELS, st.integers(0, 10**6), st.integers(0, 10**6))),
)
def test_they_are_what_prometheus_own_would_be(
    answered: list[tuple[str, int]], waits: list[tuple[str, float]], counted: list[tuple[str, int, int]]
) -> None:
    theirs, registry = CollectorRegistry(), CollectorRegistry()
    requests = Counter("headrace_queue_requests", "", ("model", "status"), registry=theirs)
    first = Histogram("headrace_queue_first_piece_seconds", "", ("model",), buckets=_SECONDS, registry=theirs)
    tokens = Counter("headrace_queue_tokens", "", ("model", "kind"), registry=theirs)
    ours = RequestMetrics()
    registry.register(ours)
    for label, status in answered:
        requests.labels(label, str(status)).inc()
        ours.count(label, status)
    for label, seconds in waits:
        first.labels(label).observe(seconds)
        ours.observe_first_piece(label, seconds)
    for label, prompt, completion in counted:
        tokens.labels(label, "prompt").inc(prompt)
        tokens.labels(label, "completion").inc(completion)
        ours.count_tokens(label, prompt, completion)
    assert samples(registry) == samples(theirs)
    assert ours.completion_tokens() == {
        label: sum(one for name, _, one in counted if name == label) for label in {label for label, _, _ in counted}
    }
