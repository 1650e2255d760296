"""Rules about replicas, autoscaling and concurrency."""

from collections.abc import Iterator

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_AUTOSCALING = "deployment.autoscaling"


def _least_below_most(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    policy = spec.deployment.autoscaling
    if policy and policy.min_replicas > policy.max_replicas:
        message = f"{policy.min_replicas} is more than maxReplicas ({policy.max_replicas})"
        hint = f"set maxReplicas to at least {policy.min_replicas}, or minReplicas to at most {policy.max_replicas}"
        yield Finding("HR201", "error", at(_AUTOSCALING, "minReplicas"), message, hint)


def _first_between(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    policy = spec.deployment.autoscaling
    if not policy or policy.initial_replicas is None or policy.min_replicas > policy.max_replicas:
        return
    if not policy.min_replicas <= policy.initial_replicas <= policy.max_replicas:
        message = f"{policy.initial_replicas} is not between minReplicas and maxReplicas"
        hint = f"accepted: {policy.min_replicas} to {policy.max_replicas}"
        yield Finding("HR202", "error", at(_AUTOSCALING, "initialReplicas"), message, hint)


def _target_is_reachable(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    policy, most = spec.deployment.autoscaling, spec.deployment.max_concurrent_queries
    if policy and most and policy.target_ongoing_requests_per_replica > most:
        given = policy.target_ongoing_requests_per_replica
        message = f"{given:g} is more than maxConcurrentQueries ({most}), so the target is never reached"
        path = at(_AUTOSCALING, "targetOngoingRequestsPerReplica")
        yield Finding("HR203", "error", path, message, f"set it to about {max(0.4 * most, 1):g}, 40 % of {most}")


def _target_fits_the_engine(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    policy, slots = spec.deployment.autoscaling, _slots(spec)
    if policy and slots and policy.target_ongoing_requests_per_replica > slots:
        given = policy.target_ongoing_requests_per_replica
        message = f"{given:g} is more than the engine computes at a time (max_num_seqs is {slots})"
        hint = f"set it to at most {slots}, or raise engine.engineKwargs.max_num_seqs"
        yield Finding("HR204", "warning", at(_AUTOSCALING, "targetOngoingRequestsPerReplica"), message, hint)


def _queries_fit_the_engine(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    most, slots = spec.deployment.max_concurrent_queries, _slots(spec)
    if most and slots and most > slots:
        message = f"{most} is more than the engine computes at a time (max_num_seqs is {slots}): the rest waits in it"
        hint = f"set it to {slots}, so that waiting requests stay in the queue, or raise max_num_seqs"
        yield Finding("HR205", "warning", at("deployment.maxConcurrentQueries"), message, hint)


def _one_writer(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.deployment.autoscaling and spec.replicas != 1:  # 1 is what the API server fills in
        message = f"{spec.replicas} has no effect: deployment.autoscaling decides how many workers run"
        hint = "leave spec.replicas out, and set minReplicas, initialReplicas or maxReplicas"
        yield Finding("HR206", "warning", at("replicas"), message, hint)


def _average_has_samples(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    policy = spec.deployment.autoscaling
    if policy and policy.look_back_period_seconds < policy.metrics_interval_seconds:
        given, interval = policy.look_back_period_seconds, policy.metrics_interval_seconds
        message = f"{given:g} is less than metricsIntervalSeconds ({interval:g}), so there is nothing to average"
        path = at(_AUTOSCALING, "lookBackPeriodSeconds")
        yield Finding("HR207", "error", path, message, f"set it to {3 * interval:g}, or to {interval:g} at least")


def _slots(spec: InferenceModelSpec) -> int | None:
    given = spec.engine.engine_kwargs.get("max_num_seqs")
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else None


RULES = (
    Rule(
        "HR201",
        "error",
        "set minReplicas to at most maxReplicas",
        _least_below_most,
        ("Autoscaling", "self.minReplicas <= self.maxReplicas"),
    ),
    Rule(
        "HR202",
        "error",
        "set initialReplicas to a number from minReplicas to maxReplicas",
        _first_between,
        (
            "Autoscaling",
            (
                "!has(self.initialReplicas) || self.minReplicas > self.maxReplicas || "
                "(self.minReplicas <= self.initialReplicas && self.initialReplicas <= self.maxReplicas)"
            ),
        ),
    ),
    Rule(
        "HR203",
        "error",
        "set targetOngoingRequestsPerReplica to at most maxConcurrentQueries, else the target is never reached",
        _target_is_reachable,
        (
            "Deployment",
            (
                "!has(self.autoscaling) || !has(self.maxConcurrentQueries) || "
                "self.autoscaling.targetOngoingRequestsPerReplica <= double(self.maxConcurrentQueries)"
            ),
        ),
    ),
    Rule("HR204", "warning", "the autoscaling target is at most the engine's max_num_seqs", _target_fits_the_engine),
    Rule("HR205", "warning", "maxConcurrentQueries is at most the engine's max_num_seqs", _queries_fit_the_engine),
    Rule("HR206", "warning", "spec.replicas is left out where autoscaling decides", _one_writer),
    Rule(
        "HR207",
        "error",
        "set lookBackPeriodSeconds to at least metricsIntervalSeconds",
        _average_has_samples,
        ("Autoscaling", "self.lookBackPeriodSeconds >= self.metricsIntervalSeconds"),
    ),
)
