"""The operator's settings."""

import pytest

from headrace_operator.settings import SettingsError, read

GOOD = {"HEADRACE_OPERATOR_QUEUE_URL": "http://q", "HEADRACE_OPERATOR_IMAGES": '{"LlamaCppEngine": "i:1"}'}


def test_options_win_over_the_environment():
    settings = read(["--queue-url", "http://other", "--namespaces", "a,b"], GOOD)
    assert settings.render.queue_url == "http://other"
    assert settings.namespaces == ("a", "b")
    assert not settings.in_cluster


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"HEADRACE_OPERATOR_IMAGES": "{"}, "--images: not JSON"),
        ({"HEADRACE_OPERATOR_IMAGES": '{"Other": "i"}'}, "VLLMEngine"),
        ({"HEADRACE_OPERATOR_GRACE_SECONDS": "x"}, "--grace-seconds"),
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
