"""The operator's settings."""

import pytest

from headrace_operator.settings import SettingsError, read

GOOD = {"HEADRACE_OPERATOR_QUEUE_URL": "http://q", "HEADRACE_OPERATOR_IMAGES": '{"LlamaCppEngine": "i:1"}'}
WEBHOOK = {
    "HEADRACE_OPERATOR_WEBHOOK_PORT": "9443",
    "HEADRACE_OPERATOR_WEBHOOK_HOST": "o.here.svc",
    "HEADRACE_OPERATOR_WEBHOOK_CONFIGURATION": "o.here.headrace.dev",
}


def test_the_webhook_is_served_where_it_has_a_port():
    assert read([], GOOD).webhook is None
    settings = read(["--webhook-certificates", "/etc/here"], {**GOOD, **WEBHOOK}).webhook
    assert settings is not None
    assert (settings.port, settings.host, settings.configuration) == (9443, "o.here.svc", "o.here.headrace.dev")
    assert str(settings.certificates) == "/etc/here"


def test_options_win_over_the_environment():
    settings = read(["--queue-url", "http://other", "--namespaces", "a,b"], GOOD)
    assert settings.render.queue_url == "http://other"
    assert settings.namespaces == ("a", "b")
    assert not settings.in_cluster


def test_the_size_of_the_largest_node_is_a_fact_for_the_rules():
    assert read([], GOOD).render.facts.gpus_per_node == {}
    told = read([], {**GOOD, "HEADRACE_OPERATOR_GPUS_PER_NODE": "8"})
    assert list(told.render.facts.gpus_per_node.values()) == [8]


def test_the_charts_profiles_and_model_cache_come_as_json():
    told = read(
        [],
        {
            **GOOD,
            "HEADRACE_OPERATOR_ACCELERATORS": '{"a10": {"nodeSelector": {"gpu": "a10"}, "memoryGiB": 24}}',
            "HEADRACE_OPERATOR_DEFAULT_ACCELERATOR": "a10",
            "HEADRACE_OPERATOR_MODEL_CACHE": '{"persistentVolumeClaim": "models"}',
        },
    ).render
    assert told.accelerators["a10"].memory_gib == 24
    assert told.facts.accelerators == told.accelerators
    assert told.model_cache is not None
    assert (told.default_accelerator, told.model_cache.persistent_volume_claim) == ("a10", "models")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"HEADRACE_OPERATOR_ACCELERATORS": "a10"}, "--accelerators: not JSON"),
        ({"HEADRACE_OPERATOR_ACCELERATORS": '{"a10": {"memory": 1}}'}, "--accelerators.a10.memory: Extra inputs"),
        ({"HEADRACE_OPERATOR_DEFAULT_ACCELERATOR": "a10"}, "--default-accelerator: Value error, there is no such"),
        ({"HEADRACE_OPERATOR_IMAGES": "{"}, "--images: not JSON"),
        ({"HEADRACE_OPERATOR_IMAGES": '{"Other": "i"}'}, "VLLMEngine"),
        ({"HEADRACE_OPERATOR_GRACE_SECONDS": "x"}, "--grace-seconds"),
        ({"HEADRACE_OPERATOR_WEBHOOK_PORT": "9443"}, "--webhook-host"),
        ({**WEBHOOK, "HEADRACE_OPERATOR_WEBHOOK_PORT": "0"}, "--webhook-port"),
        ({"HEADRACE_OPERATOR_LOG_LEVEL": "loud"}, "'DEBUG', 'INFO'"),
    ],
)
def test_errors_name_the_option_and_what_is_accepted(change, words):
    with pytest.raises(SettingsError, match=r"^--") as error:
        read([], {**GOOD, **change})
    assert words in str(error.value)


def test_missing_option():
    with pytest.raises(SettingsError, match="--queue-url"):
        read([], {})
