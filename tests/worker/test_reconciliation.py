"""The engine's own counters against what the queue was told."""

from headrace_api.wire import Result, Usage
from headrace_worker.metrics import Metrics
from headrace_worker.reconciliation import Growth, counted

VLLM = """# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m",headrace_model="m",headrace_engine="VLLMEngine"} 100.0
vllm:prompt_tokens_total{engine="1",model_name="m",headrace_model="m",headrace_engine="VLLMEngine"} 11.0
vllm:generation_tokens_total{engine="0",model_name="a} b",headrace_model="m",headrace_engine="VLLMEngine"} 1.2e+03
vllm:generation_tokens_created{engine="0"} 1.7e+09
"""
LLAMACPP = """llamacpp:prompt_tokens_total{headrace_model="m",headrace_engine="LlamaCppEngine"} 7
llamacpp:tokens_predicted_total{headrace_model="m",headrace_engine="LlamaCppEngine"} 9
llamacpp:tokens_predicted_seconds_total{headrace_model="m",headrace_engine="LlamaCppEngine"} 2
"""


def test_each_engines_counters_are_found() -> None:
    assert counted(VLLM) == {"prompt": 111.0, "completion": 1200.0}
    assert counted(LLAMACPP) == {"prompt": 7.0, "completion": 9.0}
    assert counted("trtllm_request_success_total 3\n") == {}


def test_an_engine_that_begins_anew_does_not_take_back_what_was_counted() -> None:
    growth = Growth()
    seen = [growth.seen("prompt", value) for value in (100.0, 150.0, 20.0, 30.0)]
    assert seen == [(100.0, 100.0), (50.0, 150.0), (20.0, 170.0), (10.0, 180.0)]


def test_what_the_queue_was_not_told_of_is_drift() -> None:
    metrics = Metrics()
    usage = Usage(prompt_tokens=5, completion_tokens=4)
    metrics.count(Result(job=1, request_id="r", usage=usage))
    metrics.reconcile(LLAMACPP)

    def value(name: str, kind: str) -> float | None:
        return metrics.registry.get_sample_value(f"headrace_worker_{name}", {"kind": kind})

    assert (value("usage_drift_tokens", "prompt"), value("usage_drift_tokens", "completion")) == (2.0, 5.0)
    assert value("engine_tokens_total", "completion") == 9.0
    metrics.reconcile("")
    assert value("usage_drift_tokens", "prompt") == 2.0
