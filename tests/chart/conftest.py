"""The chart, rendered."""

import subprocess
from pathlib import Path

import pytest
import yaml

from embedded import local

CHART = Path(__file__).resolve().parents[2] / "charts" / "headrace"


@pytest.fixture(scope="module")
def helm():
    program = local.helm()

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def rendered(helm):
    def render(*values, upgrade=False):
        options = [word for value in values for word in ("--set", value)] + ["--is-upgrade"] * upgrade
        result = helm("template", "release", str(CHART), "--namespace", "here", "--include-crds", *options)
        assert result.returncode == 0, result.stderr
        return [item for item in yaml.safe_load_all(result.stdout) if item]

    return render
