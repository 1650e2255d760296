"""The index of what the watches told."""

from headrace_operator.handlers import Index

KEY, OTHER = ("models", "one"), ("models", "other")


def item(uid, version="1"):
    return {"metadata": {"uid": uid, "resourceVersion": version}}


def test_the_newest_state_of_each_object_is_kept_by_model():
    index = Index()
    index.put(KEY, item("a"))
    index.put(KEY, item("b"))
    index.put(KEY, item("a", "2"))
    assert index.by_key == {KEY: (item("b"), item("a", "2"))}


def test_what_is_gone_or_belongs_to_another_is_dropped():
    index = Index()
    index.put(KEY, item("a"))
    index.put(OTHER, item("a"))
    assert index.by_key == {OTHER: (item("a"),)}
    index.drop("a")
    index.drop("a")
    assert index.by_key == {}
