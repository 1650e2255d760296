"""What the webhook answers, as a function."""

import copy
import json

import pytest

from headrace_api.rules.finding import Facts, Finding
from headrace_operator.admission import review


def answer(webhook, asked):
    found = review.answer(webhook, review.read(json.dumps(asked).encode()))
    assert found.body["apiVersion"] == "admission.k8s.io/v1"
    assert found.body["kind"] == "AdmissionReview"
    assert found.body["response"]["uid"] == asked["request"]["uid"]
    return found.outcome, found.body["response"]


@pytest.mark.parametrize("webhook", ["mutate", "validate"])
def test_a_good_model_is_let_through(webhook, ask, model):
    outcome, response = answer(webhook, ask(model))
    assert (outcome, response["allowed"]) == ("allowed", True)
    assert "patch" not in response
    assert "warnings" not in response


@pytest.mark.parametrize("webhook", ["mutate", "validate"])
def test_each_error_is_a_line_with_code_field_and_hint(webhook, ask, model):
    model["spec"]["engine"] |= {"type": "VLLMEngine", "pipelineParallelSize": 3}
    model["spec"]["scaling"] = {"numWorkers": 4, "numGpusPerWorker": 2}
    outcome, response = answer(webhook, ask(model))
    assert (outcome, response["allowed"]) == ("refused", False)
    assert (response["status"]["code"], response["status"]["reason"]) == (422, "Invalid")
    first, second = response["status"]["message"].splitlines()
    assert first == (
        "HR101: spec.scaling.numGpusPerWorker: 2 is more than 1; set numGpusPerWorker to 1 and numWorkers to 8"
    )
    assert second.startswith("HR102: spec.scaling.numWorkers: 4 is not a multiple of ")


def test_a_wrong_type_is_refused_before_the_schema_sees_it(ask, model):
    model["spec"]["replicas"] = "three"
    outcome, response = answer("mutate", ask(model))
    assert outcome == "refused"
    assert "HR0" in response["status"]["message"]
    assert "spec.replicas" in response["status"]["message"]


def test_warnings_are_told_by_the_validating_webhook_only(ask, model, monkeypatch):
    told = Finding("HR999", "warning", ("spec", "queue", "tags", 0), "two\nlines", "write one")
    monkeypatch.setattr(review, "check_model", lambda *_: [told])
    outcome, response = answer("validate", ask(model))
    assert (outcome, response["allowed"]) == ("warned", True)
    assert response["warnings"] == ["HR999: spec.queue.tags[0]: two lines; write one"]  # a header has one line
    assert "warnings" not in answer("mutate", ask(model))[1]


def test_an_unchanged_spec_is_let_through_whatever_the_rules_say(ask, model):
    model["spec"]["scaling"]["numGpusPerWorker"] = 2
    labelled = copy.deepcopy(model)
    labelled["metadata"]["labels"] = {"team": "a"}
    assert answer("validate", ask(labelled, model))[0] == "unchanged"
    labelled["spec"]["replicas"] = 2
    assert answer("validate", ask(labelled, model))[0] == "refused"


def test_deletion_is_nobodys_business(ask, model):
    assert answer("validate", ask(None, model, "DELETE")) == (
        "unchanged",
        {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True},
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "body: Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"[]", "body: "),
        (b"{}", "apiVersion: Field required"),
        (
            b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}}',
            "admission.k8s.io/v1",
        ),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', "request: Field required"),
        (
            b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": ""}}',
            "request.uid",
        ),
        (b"[" * 100_000, "Invalid JSON"),
    ],
)
def test_what_is_no_review_is_named(body, words):
    with pytest.raises(
        review.UnreadableReviewError, match=r"^not an AdmissionReview of admission.k8s.io/v1: "
    ) as error:
        review.read(body)
    assert words in str(error.value)


def test_what_is_known_of_the_nodes_counts(ask, model):
    model["spec"] = {
        "engine": {"type": "VLLMEngine", "modelId": "a"},
        "scaling": {"numWorkers": 16, "placementStrategy": "STRICT_PACK"},
    }
    asked = review.read(json.dumps(ask(model)).encode())
    assert review.answer("validate", asked).codes == ()
    assert review.answer("validate", asked, Facts(gpus_per_node={"largest": 8})).codes == ("HR106",)
