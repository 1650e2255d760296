"""Findings as people and pipelines read them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace_api.rules.finding import Finding

Format = Literal["text", "github", "json"]


@dataclass(frozen=True)
class Located:
    """A finding and where it is."""

    file: str
    line: int | None
    """From 1; None where it is not known."""
    finding: Finding

    @property
    def place(self) -> str:
        """`FILE:LINE`."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


def text_line(found: Located) -> str:
    """`FILE:LINE: HR102: spec.scaling.numWorkers: ...`; a warning says so."""
    mark = "warning: " if found.finding.severity == "warning" else ""
    return f"{found.place}: {mark}{_said(found.finding)}"


def _said(finding: Finding) -> str:
    """The finding in a line; without the field and the hint where there is none."""
    where = f"{finding.field}: " if finding.path else ""
    return f"{finding.code}: {where}{finding.message}" + (f"; {finding.hint}" if finding.hint else "")


def github_line(found: Located) -> str:
    """A workflow command that makes an annotation of the pull request's line."""
    finding = found.finding
    line = {} if found.line is None else {"line": str(found.line)}
    properties = {"file": found.file, **line, "title": finding.code}
    listed = ",".join(f"{name}={_escaped(value, ',', ':')}" for name, value in properties.items())
    message = _said(finding).removeprefix(f"{finding.code}: ")
    return f"::{finding.severity} {listed}::{_escaped(message)}"


def _escaped(text: str, *more: str) -> str:
    """Escape as GitHub's toolkit does: `%` and line ends everywhere, `:` and `,` in properties."""
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def json_text(findings: Sequence[Located]) -> str:
    """A JSON list with an object for each finding."""
    return json.dumps([_object(found) for found in findings], indent=2, ensure_ascii=False)


def _object(found: Located) -> dict[str, Any]:
    finding = found.finding
    return {
        "file": found.file,
        "line": found.line,
        "severity": finding.severity,
        "code": finding.code,
        "field": finding.field,
        "message": finding.message,
        "hint": finding.hint,
    }
