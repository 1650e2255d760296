"""Names of resources from file names and model ids."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.convert.naming import resource_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("meta-llama--Llama-2-7b-chat-hf.yaml", "meta-llama--llama-2-7b-chat-hf"),
        ("models/continuous_batching/mosaicml--mpt-7b-instruct.yml", "mosaicml--mpt-7b-instruct"),
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama--llama-2-7b-chat-hf"),
        ("lmsys/vicuna-13b-v1.3", "lmsys--vicuna-13b-v1-3"),
        ("luminous_base", "luminous-base"),
    ],
)
def test_names_follow_the_registrys_convention(text, name):
    assert resource_name(text) == name


def test_long_names_that_begin_alike_stay_apart():
    one, other = resource_name("a" * 70), resource_name("a" * 71)
    assert one != other
    assert len(one) == len(other) == 63


@given(st.text(min_size=1, max_size=90))
def test_every_name_is_a_dns_label_or_refused(text):
    base = re.sub(r"(?i)\.(ya?ml|toml|json)$", "", text.rsplit("/", 1)[-1])
    if re.search("[a-z0-9]", (text if base == text.rsplit("/", 1)[-1] else base).lower()):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", resource_name(text))
    else:
        with pytest.raises(ValueError, match="gives no name"):
            resource_name(text)
