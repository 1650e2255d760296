"""`headrace`, run in this process; test_program.py runs it as people do."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from headrace_cli.__main__ import main

MODEL = """\
apiVersion: headrace.dev/v1alpha1
kind: InferenceModel
metadata: {name: m}
spec: {engine: {type: LlamaCppEngine, modelId: a/b}}
"""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def headrace(monkeypatch, capsys) -> Callable[..., Result]:
    def run(*arguments: object, text: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Result(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def model_text() -> str:
    return MODEL
