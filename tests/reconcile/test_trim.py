"""What is kept in memory of the objects that are watched."""

import json

from headrace_operator import trim


def managed(manager, subresource, fields):
    entry = {"manager": manager, "operation": "Update", "fieldsV1": fields}
    return {**entry, "subresource": subresource} if subresource else entry


REPLICAS = {"f:spec": {"f:replicas": {}}}


def deployment(*entries):
    return {
        "kind": "Deployment",
        "metadata": {"name": "d", "managedFields": list(entries), "annotations": {"a": "b"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "worker", "env": [{"name": "A"}]}]}}},
        "status": {"readyReplicas": 1},
    }


def test_what_was_rendered_and_the_status_of_a_workload_are_kept():
    item = deployment(managed("headrace-operator", None, REPLICAS))
    trim.workload(item)
    bare = deployment()
    del bare["metadata"]["managedFields"]
    assert item == bare


def test_the_owner_of_the_replicas_outlives_the_managed_fields():
    item = deployment(managed("kube-controller-manager", "scale", REPLICAS) | {"time": "2026-01-01T00:00:00Z"})
    trim.workload(item)
    assert item["metadata"][trim.REPLICAS_OWNER] == "kube-controller-manager"
    assert item["metadata"][trim.REPLICAS_OWNED_SINCE] == "2026-01-01T00:00:00Z"
    assert "managedFields" not in item["metadata"]


def test_only_an_autoscaler_owns_replicas():
    status = {"f:status": {"f:replicas": {}}}
    for entries in (
        [managed("kubectl", "scale", REPLICAS)],
        [managed("kube-controller-manager", None, REPLICAS)],
        [managed("kube-controller-manager", "scale", status)],
        [],
    ):
        item = deployment(*entries)
        trim.workload(item)
        assert trim.REPLICAS_OWNER not in item["metadata"]


def test_of_a_pod_only_what_causes_are_read_from_is_kept():
    item = {
        "metadata": {"name": "p", "labels": {"a": "b"}, "managedFields": [{}]},
        "spec": {
            "nodeName": "n",
            "volumes": [{"name": "config"}],
            "tolerations": [{}],
            "containers": [{"name": "worker", "image": "i", "env": [{}], "resources": {"limits": {"gpu": "1"}}}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{"name": "worker", "ready": True}]},
    }
    trim.pod(item)
    assert item == {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "worker", "image": "i", "resources": {"limits": {"gpu": "1"}}}],
        },
        "status": {"phase": "Running", "containerStatuses": [{"name": "worker", "ready": True}]},
    }


def test_a_child_loses_its_status_and_nothing_that_was_rendered():
    item = {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}, "status": {"a": 1}}
    trim.child(item)
    assert item == {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}


def test_the_copy_that_kubectl_keeps_of_a_model_is_dropped():
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{...}", "headrace.dev/approve-render": "x"}
    item = {"metadata": {"name": "m", "annotations": annotations}, "spec": {"replicas": 1}, "status": {"replicas": 1}}
    trim.model(item)
    assert item["metadata"]["annotations"] == {"headrace.dev/approve-render": "x"}
    assert item["spec"] == {"replicas": 1}
    assert item["status"] == {"replicas": 1}


def test_equal_keys_and_texts_of_two_events_are_one_in_memory():
    one, other = (json.loads('{"metadata": {"labels": {"a.b/c": "some text"}}}') for _ in range(2))
    trim.child(one)
    trim.child(other)
    assert one["metadata"]["labels"]["a.b/c"] is other["metadata"]["labels"]["a.b/c"]
    assert next(iter(one["metadata"]["labels"])) is next(iter(other["metadata"]["labels"]))
