"""YAML as kubectl reads it."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace_cli.yaml_text import Malformed, read, write


def value(text):
    return read(f"a: {text}\n", "f")[0].data["a"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e3", 1000.0),
        ("08", 8.0),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("010", 8),
        ("0o17", 15),
        ("0x1f", 31),
        ("-7", -7),
        ("1_000", 1000),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("~", None),
        ('"1e3"', "1e3"),
        (".inf", math.inf),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_words_mean_what_kubectl_takes_them_for(text, meant):
    found = value(text)
    assert found == meant
    assert type(found) is type(meant)


def test_keys_are_texts_as_in_json():
    assert read("1: a\non: b\n", "f")[0].data == {"1": "a", "true": "b"}


WORDS = st.sampled_from(
    ["1e3", "08", "0o17", "y", "N", "on", "1:30", "2024-01-01", "~", "", "- a", "a: b", "#", ".inf"]
)
TEXTS = WORDS | st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(VALUES)
def test_what_is_written_is_read_back_by_kubectl_and_by_pyyaml(data):
    text = write({"a": data})
    assert read(text, "f")[0].data == {"a": data}
    assert yaml.safe_load(text) == {"a": data}


@given(st.text())
def test_any_text_is_read_or_refused_with_its_line(text):
    line = 1
    try:
        read(text, "f")
    except Malformed as error:
        line = error.line
    assert 1 <= line <= sum(text.count(end) for end in "\n\r\x85\u2028\u2029") + 3


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 20))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is there twice, first in line 1"),
        ("{a: 1, a: 1}", 1, "twice"),
        ("a: 1\nb: [", 3, "not YAML"),
        ("a: &x [*x]", 1, "contains itself"),
        (LAUGHS, 7, "aliases make more than 1000000 values"),
        ("a: !!python/name:os.system x", 1, "not YAML"),
        ("a: \x01", 1, "not YAML"),
    ],
)
def test_what_kubectl_refuses_is_refused(text, line, said):
    with pytest.raises(Malformed, match=said) as refused:
        read(text, "f.yaml")
    assert refused.value.line == line
    assert str(refused.value).startswith(f"f.yaml:{line}: ")


def test_lines():
    document = read("a: 1\nb:\n  - c: 1\n  -\n    c: 2\nd: {e: 1,\n  f: 2}\n", "f")[0]
    assert document.line(("b", 0, "c")) == 3
    assert document.line(("b", 1, "c")) == 5
    assert document.line(("d", "f")) == 7
    assert document.line(("d", "missing", "more")) == 6
    assert document.line(()) == 1
