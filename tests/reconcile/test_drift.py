"""What counts as a difference between a rendered and a live object."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from headrace_operator.drift import differs, surplus

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_equal_is_no_difference(value):
    assert not differs(value, copy.deepcopy(value))


@given(st.dictionaries(st.text(max_size=5), values), st.dictionaries(st.text(min_size=6, max_size=8), values))
def test_what_others_add_to_a_map_is_no_difference(rendered, added):
    assert not differs(rendered, {**rendered, **added})


def test_changed_removed_and_appended_are_differences():
    assert differs({"a": 1}, {"a": 2})
    assert differs({"a": 1}, {})
    assert differs({"a": [1]}, {"a": [1, 2]})
    assert differs({"a": {"b": 1}}, {"a": None})


def test_quantities_are_compared_by_value():
    assert not differs({"limits": {"memory": "1024Mi", "cpu": "1000m"}}, {"limits": {"memory": "1Gi", "cpu": "1"}})
    assert differs({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1G"}})
    assert differs({"env": [{"name": "X", "value": "1000m"}]}, {"env": [{"name": "X", "value": "1"}]})


def test_what_the_api_server_leaves_out_is_no_difference():
    assert not differs({"resources": {}, "args": [], "hostNetwork": False, "initialDelaySeconds": 0}, {})
    assert not differs({"env": [{"name": "PROXY", "value": ""}]}, {"env": [{"name": "PROXY"}]})


RENDERED = {"containers": [{"name": "worker", "args": ["a"], "env": [{"name": "A", "value": "1"}]}]}


def test_what_others_added_to_lists_is_found_from_the_end():
    env = [{"name": "X"}, {"name": "A", "value": "1"}, {"name": "Y"}]
    live = {"containers": [{"name": "first"}, {"name": "worker", "args": ["a"], "env": env, "ports": [1]}, {}]}
    assert list(surplus(RENDERED, live)) == [
        "/containers/2",
        "/containers/1/env/2",
        "/containers/1/env/0",
        "/containers/0",
    ]


@given(values)
def test_an_equal_object_has_nothing_added(value):
    assert not list(surplus(value, copy.deepcopy(value)))


def test_nothing_goes_from_a_list_in_which_an_own_item_is_not_found():
    assert not list(surplus(RENDERED, {"containers": [{"name": "Worker"}, {"name": "other"}]}))
    assert not list(surplus({"args": ["a"]}, {"args": ["b", "c"]}))


def test_pointers_are_written_as_their_rule_says():
    assert list(surplus({"a/b~c": ["x"]}, {"a/b~c": ["x", "y"]})) == ["/a~1b~0c/1"]
