"""A whole manifest: first the shape of the document, then, where that is right, the chain of rules.

The operator, the admission webhook and `headrace lint` all ask here, so that they say the same. The shape is read as
the API server reads it: names are camelCase only, a text is no number, and a field that is null counts as absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import manifest as outer
from headrace_api.rules import shape
from headrace_api.rules.chain import check
from headrace_api.rules.finding import Facts, Finding


@dataclass(frozen=True)
class Read:
    """A manifest that was read."""

    spec: InferenceModelSpec | None
    """None where a finding is an error."""
    findings: tuple[Finding, ...]
    readable: InferenceModelSpec | None = None
    """The spec whatever the rules find in it; None where the document's shape is wrong."""

    @property
    def errors(self) -> list[Finding]:
        """What keeps the model from running."""
        return [finding for finding in self.findings if finding.severity == "error"]


def check_model(manifest: Mapping[str, Any], facts: Facts | None = None) -> list[Finding]:
    """All that is wrong with a manifest, or worth a warning, in the order of the chain.

    Never raises, whatever a JSON or YAML file may hold.
    """
    return list(read_model(manifest, facts).findings)


def read_model(manifest: Mapping[str, Any], facts: Facts | None = None) -> Read:
    """The same, and the spec."""
    findings = list(outer.check(manifest))
    if any(finding.path[:1] in {("spec",), ()} for finding in findings):
        return Read(None, tuple(findings))
    shaped = all(finding.severity != "error" for finding in findings)
    spec = _spec(manifest["spec"])
    if isinstance(spec, list):
        return Read(None, (*findings, *spec))
    findings += check(spec, facts)
    valid = all(finding.severity != "error" for finding in findings)
    return Read(spec if valid else None, tuple(findings), spec if shaped else None)


def _spec(given: Any) -> InferenceModelSpec | list[Finding]:
    """The spec, or its errors; a second try takes the given values as the API server would store them."""
    try:
        return _validate(given)
    except ValidationError as error:
        stored = shape.as_stored(given, error)
    try:
        return _validate(stored)
    except ValidationError as error:
        return shape.findings(stored, error)


def _validate(given: Any) -> InferenceModelSpec:
    return InferenceModelSpec.model_validate(given, strict=True, by_alias=True, by_name=False)
