"""Inputs for the parsers: any text, damaged good documents, and good documents with damaged values."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Tree = dict[str, Any]

TEXT = st.text(max_size=60)
MARKS = st.text("{}[]()<>:#&*!|>'\"%@`,.-+=_ \t\n\r\\0123456789abcxyzåß\U0001f600\x00\x7f\ufeff\u2028", max_size=40)
WORDS = st.sampled_from(
    [
        "",
        " ",
        "1",
        "-1",
        "1e999",
        "nan",
        "null",
        "~",
        "true",
        "no",
        "{instruction}",
        "{system}",
        "{",
        "s3://",
        "a/b",
        "/",
        "XXX",
    ]
)
LEAVES = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    WORDS,
    TEXT,
    MARKS,
    st.dates(),
    st.datetimes(),
)


def values(*, null: bool) -> st.SearchStrategy[Any]:
    """Anything a document can hold."""
    leaves = LEAVES | (st.none() if null else st.times())  # YAML has no times, TOML no null
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | TEXT, inner, max_size=3),
        max_leaves=5,
    )


@st.composite
def damaged_trees(draw: st.DrawFn, seeds: list[Tree], *, null: bool = True) -> Tree:
    """A good document, of which some values are others, gone, or under another key."""
    tree = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        _damage(draw, tree, null=null)
    return tree


def _damage(draw: st.DrawFn, tree: Any, *, null: bool) -> None:
    here, key = tree, draw(st.sampled_from(sorted(tree, key=str))) if tree else None
    while key is not None and isinstance(here[key], dict | list) and here[key] and draw(st.integers(0, 3)):
        here = here[key]
        key = draw(st.sampled_from(sorted(here, key=str) if isinstance(here, dict) else range(len(here))))
    match draw(st.sampled_from(["value", "value", "gone", "more"])):
        case "gone" if key is not None:
            del here[key]
        case "more" if isinstance(here, dict):
            here[draw(WORDS | TEXT)] = draw(values(null=null))
        case _ if key is not None:
            here[key] = draw(values(null=null))


@st.composite
def damaged_texts(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A good text, in which some places are others."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(MARKS | WORDS) + text[end:]
    return text


def documents(seeds: list[Tree], dump: Callable[[Tree], str], *, null: bool) -> st.SearchStrategy[str]:
    """Texts of a format, from good ones to nonsense."""
    good = st.sampled_from(seeds).map(dump)
    trees = damaged_trees(seeds, null=null).map(dump)
    return st.one_of(trees, trees, damaged_texts(good), damaged_texts(trees), TEXT, MARKS)
