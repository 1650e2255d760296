"""Whose an object is: the model's own, an earlier model's, somebody else's, or one that nobody owns any more."""

import pytest
from tests.reconcile.test_reconcile import KEY, condition, reconciler_of


@pytest.fixture
def reconciler(cluster, config):
    return reconciler_of(cluster, config)


async def test_foreign_object_of_the_same_name_is_not_taken_over(reconciler, cluster):
    theirs = {"kind": "Service", "metadata": {"name": "sample"}, "spec": {"theirs": "1"}}
    cluster.children["Service", "sample"] = theirs
    await reconciler.reconcile(KEY)
    assert cluster.children["Service", "sample"] == theirs
    assert ("Deployment", "sample") not in cluster.children
    assert condition(cluster, "Ready")["reason"] == "NameTaken"


async def test_objects_of_an_earlier_model_are_cleared_away(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.model["metadata"]["uid"] = "uid-2"
    cluster.gone = {("Service", "sample")}
    await reconciler.reconcile(KEY)
    assert cluster.children == {}
    assert cluster.lost_objects == [("Service", "sample")]


async def test_an_old_view_does_not_clear_away_the_objects_of_a_newer_model(reconciler, cluster):
    await reconciler.reconcile(KEY)
    before = dict(cluster.children)
    cluster.newest_model = {**cluster.model, "metadata": dict(cluster.model["metadata"])}
    cluster.model["metadata"]["uid"] = "uid-of-before"
    await reconciler.reconcile(KEY)
    assert cluster.children == before


async def test_objects_of_an_earlier_model_are_waited_for(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.model["metadata"]["uid"] = "uid-2"
    cluster.model.pop("status")
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["reason"] == "WaitingForDeletion"
    assert condition(cluster, "Stalled")["status"] == "False"
    cluster.children.clear()
    await reconciler.reconcile(KEY)
    owner = cluster.children["Deployment", "sample"]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == "uid-2"


async def test_our_own_object_that_no_watch_told_of_is_not_somebody_elses(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.unseen = {"Deployment"}
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") in cluster.writes
    assert condition(cluster, "Ready")["reason"] == "Progressing"


@pytest.mark.parametrize(
    ("manager", "label", "taken"),
    [("headrace-operator", "sample", True), ("kubectl", "sample", False), ("headrace-operator", "other", False)],
)
async def test_what_the_operator_applied_and_nobody_owns_is_taken_back(reconciler, cluster, manager, label, taken):
    fields = [{"manager": manager, "operation": "Apply"}]
    metadata = {"name": "sample", "labels": {"headrace.dev/model": label}, "managedFields": fields}
    cluster.children["Service", "sample"] = {"kind": "Service", "metadata": metadata}
    await reconciler.reconcile(KEY)
    assert bool(cluster.children["Service", "sample"]["metadata"].get("ownerReferences")) == taken
    assert (condition(cluster, "Ready")["reason"] == "NameTaken") != taken


def take_the_owner_away(cluster):
    metadata = cluster.children["Service", "sample"]["metadata"]
    metadata["managedFields"] = [{"manager": "headrace-operator", "operation": "Apply"}]
    del metadata["ownerReferences"]
    cluster.writes.clear()


async def test_a_child_whose_owner_was_taken_away_gets_it_back_without_an_edit(reconciler, cluster):
    for _ in range(3):
        await reconciler.reconcile(KEY)
    take_the_owner_away(cluster)
    await reconciler.reconcile(KEY)
    assert cluster.writes == [("apply", "Service")]
    assert cluster.children["Service", "sample"]["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


@pytest.mark.parametrize("newer", [{"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"uid": "uid-2"}])
async def test_a_model_that_is_deleted_without_its_objects_does_not_take_them_back(reconciler, cluster, newer):
    await reconciler.reconcile(KEY)
    take_the_owner_away(cluster)
    cluster.newest_model = {**cluster.model, "metadata": {**cluster.model["metadata"], **newer}}
    await reconciler.reconcile(KEY)
    assert [kind for verb, kind in cluster.writes if verb != "status"] == []
    assert condition(cluster, "Reconciling")["reason"] == "BeingDeleted"


async def test_what_a_deletion_does_not_find_is_forgotten(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.model["spec"]["enabled"] = False
    gone = cluster.children["Service", "sample"]
    cluster.gone = {("Service", "sample")}
    await reconciler.reconcile(KEY)
    assert cluster.lost_objects == [("Service", gone["metadata"]["name"])]
