"""The whole check of a manifest: the fields' own shape first, then the chain."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import chain
from headrace_api.rules.finding import Facts, Finding


def check_model(manifest: Mapping[str, Any], facts: Facts | None = None) -> list[Finding]:
    """All findings of a manifest; when a field has a wrong shape only those about shapes."""
    try:
        spec = InferenceModelSpec.model_validate(manifest.get("spec") or {})
    except ValidationError as error:
        return [
            Finding("HR001", "error", ("spec", *one["loc"]), f"{one['input']!r:.80}", one["msg"])
            for one in error.errors()
        ]
    return chain.check(spec, facts)
