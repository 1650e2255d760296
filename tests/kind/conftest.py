"""Lets the tests import the scripts' packages, which are found by the scripts' own folder, not installed."""

import sys
from pathlib import Path

import pytest

KIND = Path(__file__).resolve().parents[2] / "kind"
sys.path.insert(0, str(KIND))


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of the test's own."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"
