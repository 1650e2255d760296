"""What the webhook answers to the API server, as a pure function of the AdmissionReview.

Both webhooks refuse what the rules call an error. The mutating one does so because the API server calls it before it
checks the schema: a value of the wrong type gets the rule's code and hint, and not only the schema's words. The
validating one has the last word, after every other webhook has changed the model, and tells the warnings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from headrace_api.rules.document import check_model
from headrace_api.rules.finding import Facts, Finding
from headrace_operator.observed import Object

API_VERSION = "admission.k8s.io/v1"
Webhook = Literal["mutate", "validate"]
Outcome = Literal["allowed", "refused", "unchanged", "warned"]


class UnreadableReviewError(Exception):
    """The body is not an AdmissionReview of a model; the message says what is accepted."""


class _Part(BaseModel):
    """What is read of the API server's message; newer API servers may say more."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, frozen=True)


class Request(_Part):
    """The question: may this object be stored?"""

    uid: str = Field(min_length=1)
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    namespace: str = ""
    name: str = ""
    """Empty when the API server is to make one up."""
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None


class _Review(_Part):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: Request


@dataclass(frozen=True)
class Answer:
    """What is sent back, and what is counted and logged of it."""

    outcome: Outcome
    body: Object
    codes: tuple[str, ...] = ()
    """The codes of the findings that were told."""


def read(body: bytes) -> Request:
    """The request in an AdmissionReview.

    Raises:
        UnreadableReviewError: the body is something else.
    """
    try:
        return _Review.model_validate_json(body).request
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()[:3])
        raise UnreadableReviewError(f"not an AdmissionReview of {API_VERSION}: {wrong}") from None


def answer(webhook: Webhook, request: Request, facts: Facts | None = None) -> Answer:
    """Decide.

    An update that leaves the spec as it is goes through whatever the rules say: a rule that came later must not get in
    the way of labels, finalizers and owner references of models that are there already.
    """
    model = request.object
    if model is None or _unchanged(request):
        return Answer("unchanged", _response(request, allowed=True))
    findings = [finding for finding in check_model(model, facts) if not _settled(request, finding)]
    if errors := [finding for finding in findings if finding.severity == "error"]:
        return Answer("refused", _response(request, allowed=False, status=_refusal(errors)), _codes(errors))
    if webhook == "mutate":
        return Answer("allowed", _response(request, allowed=True))
    warnings = [" ".join(finding.text.split()) for finding in findings]  # a header holds one line
    outcome: Outcome = "warned" if warnings else "allowed"
    return Answer(
        outcome, _response(request, allowed=True, **({"warnings": warnings} if warnings else {})), _codes(findings)
    )


def _unchanged(request: Request) -> bool:
    if request.operation in {"DELETE", "CONNECT"}:
        return True
    old, new = request.old_object or {}, request.object or {}
    return request.operation == "UPDATE" and old.get("spec") == new.get("spec")


def _settled(request: Request, finding: Finding) -> bool:
    """Whether nothing can be done about a finding any more: a model keeps its name for life."""
    return request.operation == "UPDATE" and finding.path[:1] == ("metadata",)


def _refusal(errors: Sequence[Finding]) -> Object:
    """A Status with one line per finding, in the words that lint and the operator use.

    It has no details with causes: kubectl would print those instead of the message, and say each field twice.
    """
    return {"code": 422, "reason": "Invalid", "message": "\n".join(finding.text for finding in errors)}


def _response(request: Request, *, allowed: bool, **more: Any) -> Object:
    response: Mapping[str, Any] = {"uid": request.uid, "allowed": allowed, **more}
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def _codes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.code for finding in findings))
