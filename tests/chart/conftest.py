"""The chart, rendered."""

import shutil
import subprocess
import textwrap
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


@pytest.fixture
def notes(helm, tmp_path):
    """The words after an installation; helm shows them then only, so they are made an object's text."""

    def render(*values):
        chart = shutil.copytree(CHART, tmp_path / "chart")
        text = (chart / "templates/NOTES.txt").read_text()
        (chart / "templates/notes.yaml").write_text("kind: Notes\ntext: |\n" + textwrap.indent(text, "  "))
        options = [word for value in values for word in ("--set", value)]
        result = helm("template", "release", str(chart), "--show-only", "templates/notes.yaml", *options)
        assert result.returncode == 0, result.stderr
        return str(yaml.safe_load(result.stdout)["text"])

    return render
