"""The one default that depends on another field."""

import json

import pytest

from headrace_api.defaulting import defaults

THREE = {"replicas": 1, "deployment": {"autoscaling": {"initialReplicas": 3, "minReplicas": 2}}}


def annotated(spec):
    return {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": spec})}}


def managed(fields, operation="Apply"):
    return {"managedFields": [{"operation": operation, "fieldsV1": {"f:spec": fields}}]}


@pytest.mark.parametrize(
    ("model", "replicas"),
    [
        ({"spec": THREE}, 3),
        ({"spec": {"deployment": {"autoscaling": {"minReplicas": 2}}}}, 2),
        ({"spec": THREE, "metadata": annotated({"deployment": {}})}, 3),
        ({"spec": THREE, "metadata": annotated({"replicas": 1})}, None),
        ({"spec": THREE, "metadata": managed({"f:engine": {}})}, 3),
        ({"spec": THREE, "metadata": managed({"f:replicas": {}})}, None),
        ({"spec": THREE, "metadata": managed({"f:replicas": {}}, "Update")}, 3),  # the CRD's default
        ({"spec": {**THREE, "replicas": 4}}, None),
        ({"spec": {**THREE, "replicas": 0}}, None),
        ({"spec": {"deployment": {"autoscaling": {"minReplicas": 0}}}}, None),
        ({"spec": {"deployment": {"autoscaling": {"initialReplicas": 1, "minReplicas": 2}}}}, None),
        ({"spec": {"deployment": {"autoscaling": {"initialReplicas": "3"}}}}, None),
        ({"spec": {"deployment": None}}, None),
        ({"spec": {}}, None),
        ({}, None),
    ],
)
def test_replicas_begin_as_autoscaling_says(model, replicas):
    assert defaults(model) == ({} if replicas is None else {("spec", "replicas"): replicas})
