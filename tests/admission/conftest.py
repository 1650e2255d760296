"""AdmissionReviews as the API server sends them."""

import copy
from typing import Any

import pytest

Object = dict[str, Any]

_SPEC: Object = {
    "replicas": 1,
    "engine": {"type": "LlamaCppEngine", "modelId": "headrace/sample-chat", "pipelineParallelSize": 1},
    "scaling": {"numWorkers": 1},
}


@pytest.fixture
def model() -> Object:
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": "sample", "namespace": "models"},
        "spec": copy.deepcopy(_SPEC),
    }


@pytest.fixture
def ask():
    """An AdmissionReview of a model; of an update where `old` is given."""

    def review(new: Object | None, old: Object | None = None, operation: str | None = None) -> Object:
        return {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "headrace.dev", "version": "v1alpha1", "kind": "InferenceModel"},
                "operation": operation or ("UPDATE" if old else "CREATE"),
                "namespace": "models",
                "name": "sample",
                "userInfo": {"username": "jane"},
                "object": new,
                "oldObject": old,
                "dryRun": False,
            },
        }

    return review
