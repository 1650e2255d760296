"""The pages of the documentation do what they show."""

import shutil
from pathlib import Path

import pytest

from headrace_worker.engine_process import free_port
from tests.docs.pages import blocks, run, steps
from tests.worker.worker_process import ROOT, SAMPLE_MODEL

pytestmark = pytest.mark.slow

PAGES = ROOT / "docs" / "configuration"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("page", "outputs"), [("coming-from-a-two-file-worker.md", 11), ("coming-from-a-spider-network.md", 2)]
)
def test_a_page_does_what_it_shows(page: str, outputs: int, tmp_path: Path) -> None:
    replaced = {port: str(free_port()) for port in ("18080", "18081", "19090", "14000")}
    replaced["/opt/headrace/models/sample-chat"] = str(SAMPLE_MODEL)
    assert run((PAGES / page).read_text(), tmp_path, replaced) == outputs


def test_the_page_for_rayllm_does_what_it_shows(tmp_path: Path) -> None:
    assert run((PAGES / "coming-from-rayllm.md").read_text(), tmp_path, {}) == 10


def test_the_page_on_scaling_does_what_it_shows_and_its_picture_is_current(tmp_path: Path) -> None:
    folder = ROOT / "docs" / "scaling"
    shutil.copy(folder / "day.csv", tmp_path)
    assert run((ROOT / "docs" / "scaling.md").read_text(), tmp_path, {}) == 1
    assert (tmp_path / "day.svg").read_text() == (folder / "day.svg").read_text()


def test_the_page_of_gpus_does_what_it_shows(tmp_path: Path) -> None:
    assert run((ROOT / "docs" / "gpus.md").read_text(), tmp_path, {}) == 2


def test_the_page_of_engines_does_what_it_shows(tmp_path: Path) -> None:
    assert run((ROOT / "docs" / "engines.md").read_text(), tmp_path, {}) == 3


def test_an_output_that_differs_is_noticed(tmp_path: Path) -> None:
    page = "```text title=a.txt\nb\n```\n\n```console\n$ cat \\\n> a.txt\nc\n```\n"
    assert [block.kind for block in blocks(page)] == ["file", "console"]
    assert [step.command for step in steps("$ cat \\\n> a.txt\nc\n")] == ["cat \\\na.txt"]
    with pytest.raises(AssertionError):
        run(page, tmp_path, {})
    assert run(page.replace("\nc\n", "\nb\n"), tmp_path, {}) == 1
