"""What the operator sees in kopf's indices."""

from headrace_api.load import ModelLoad
from headrace_operator.kinds import owner_key, pod_key, watched
from headrace_operator.world import SeenWorld

KEY = ("models", "sample")
KINDS = watched(pod_monitors=False)


def item(version, uid="1", created="2026-01-01T00:00:00Z", **more):
    metadata = {"namespace": "models", "name": "sample", "uid": uid, "resourceVersion": version}
    return {"metadata": {**metadata, "creationTimestamp": created}, **more}


def test_the_newest_of_one_name_counts():
    world = SeenWorld(KINDS)
    world.bind({"inferencemodels": {KEY: [item("12", "new", "2026-01-01T00:00:05Z"), item("9", "old")]}})
    assert world.observe(KEY).model["metadata"]["uid"] == "new"


def test_nothing_is_observed_before_the_indices_are_there():
    assert SeenWorld(KINDS).observe(KEY) is None


def test_an_object_belongs_to_its_controller():
    owner = {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "name": "m", "controller": True}
    owned = item("1")
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "p"}, owner]
    assert owner_key(owned) == ("models", "m")
    owned["metadata"]["ownerReferences"] = [{**owner, "apiVersion": "kubeai.org/v1"}]
    assert owner_key(owned) is None


def test_only_worker_pods_belong_to_models():
    pod = item("1")
    assert pod_key(pod) is None
    pod["metadata"]["labels"] = {"headrace.dev/model": "m", "app.kubernetes.io/managed-by": "headrace-operator"}
    assert pod_key(pod) == ("models", "m")


def child(version, uid="c", created="2026-01-01T00:00:00Z"):
    return {"kind": "Service", **item(version, uid, created)}


def with_services(*services):
    world = SeenWorld(KINDS)
    world.bind({"inferencemodels": {KEY: [item("1", "m")]}, "services": {KEY: list(services)}})
    return world


def versions(world):
    return [one["metadata"]["resourceVersion"] for one in world.observe(KEY).children]


def test_what_was_written_is_observed_before_a_watch_tells_of_it():
    world = with_services()
    world.wrote(KEY, child("5"))
    assert versions(world) == ["5"]


def test_an_older_event_does_not_hide_what_was_written():
    world = with_services(child("4"))
    world.wrote(KEY, child("5"))
    world.heard(KEY, child("4"), gone=False)
    assert versions(world) == ["5"]
    world.heard(KEY, child("5"), gone=False)
    assert versions(world) == ["4"]  # the index's word counts from now on


def test_what_was_written_and_deleted_at_once_is_not_remembered():
    world = with_services()
    world.wrote(KEY, child("5"))
    world.heard(KEY, child("5"), gone=True)
    assert world.observe(KEY).children == ()


def test_what_no_watch_has_told_of_by_the_next_list_is_doubted():
    world = with_services()
    world.wrote(KEY, child("5"))
    world.bury(set())
    assert world.observe(KEY).children == ()


def test_a_watch_that_is_quicker_than_the_answer_is_believed():
    world = with_services(child("6"))
    world.heard(KEY, child("6"), gone=False)
    world.wrote(KEY, child("5"))
    assert versions(world) == ["6"]


def test_a_deletion_that_is_heard_before_the_answer_is_believed():
    world = with_services()
    world.heard(KEY, child("6"), gone=True)
    world.wrote(KEY, child("5"))
    assert world.observe(KEY).children == ()


def test_what_the_api_server_does_not_know_is_not_observed():
    world = with_services(child("4"))
    world.lost(child("4"))
    assert world.observe(KEY).children == ()


def test_a_model_of_another_queue_has_none_of_the_numbers_and_no_place_in_the_catalogue():
    here, elsewhere = (
        item("1", uid=uid, spec={"engine": {"modelId": "org/m"}, "queue": {"url": url}})
        for uid, url in (("1", "http://queue:8080/"), ("2", "https://elsewhere.example.com"))
    )
    world = SeenWorld(KINDS, "http://queue:8080")
    world.set_load({"org/m": ModelLoad(queued=7)})
    for model, load, name in ((here, ModelLoad(queued=7), "org/m"), (elsewhere, None, "")):
        world.bind({"inferencemodels": {KEY: [model]}})
        assert (world.observe(KEY).load, world.queue_name(model)) == (load, name)
