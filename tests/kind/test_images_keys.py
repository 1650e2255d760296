"""An image is built again when, and only when, something that it is made of changed."""

from pathlib import Path

import pytest

from images import inputs
from images.catalogue import IMAGES
from toolbox import steps

PYPROJECT = '[tool.hatch.build.targets.wheel]\npackages = ["operator/headrace_operator", "runtime/headrace_api"]\n'


@pytest.fixture
def checkout(tmp_path):
    files = {
        "pyproject.toml": PYPROJECT,
        "README.md": "Headrace",
        "LICENSE": "Apache-2.0",
        "uv.lock": "version = 1",
        ".dockerignore": "*",
        "operator/Containerfile": "FROM scratch",
        "operator/headrace_operator/__init__.py": "",
        "runtime/headrace_api/spec.py": "x = 1",
        "runtime/sample_model/sample-chat/sample-chat-f16.gguf": "GGUF",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def keys(root: Path) -> dict[str, str]:
    return {name: inputs.offline_key(IMAGES[name], root) for name in ("operator", "queue", "runtime-llamacpp", "pause")}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_the_packages_are_those_that_pyproject_lists(checkout):
    assert inputs.packages(checkout) == ["operator/headrace_operator", "runtime/headrace_api"]


def test_nothing_changed(checkout):
    assert keys(checkout) == keys(checkout)


def test_the_images_differ(checkout):
    assert len(set(keys(checkout).values())) == 4


ALL_PROGRAMS = {"operator", "queue", "runtime-llamacpp"}


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("operator/headrace_operator/new.py", {"operator"}),
        ("runtime/headrace_api/spec.py", ALL_PROGRAMS),
        ("pyproject.toml", ALL_PROGRAMS),
    ],
)
def test_an_edit_changes_the_programs_that_use_the_file(checkout, name, images):
    before = keys(checkout)
    (checkout / name).write_text(PYPROJECT + "# an edit")
    assert changed(before, keys(checkout)) == images


def test_an_edit_keeps_the_dependencies_and_a_new_lock_does_not(checkout):
    image = IMAGES["operator"]
    before = inputs.dependency_key(image, checkout)
    (checkout / "runtime/headrace_api/spec.py").write_text("x = 2")
    assert inputs.dependency_key(image, checkout) == before
    (checkout / "uv.lock").write_text("version = 2")
    assert inputs.dependency_key(image, checkout) != before


def test_a_moved_file_changes_the_key(checkout):
    image = IMAGES["operator"]
    before = inputs.source_key(image, checkout)
    (checkout / "runtime/headrace_api/spec.py").rename(checkout / "runtime/headrace_api/specs.py")
    assert inputs.source_key(image, checkout) != before


def test_byte_code_and_other_files_do_not_matter(checkout):
    before = keys(checkout)
    for name in ("runtime/headrace_api/__pycache__/spec.pyc", "docs/page.md"):
        (checkout / name).parent.mkdir()
        (checkout / name).write_text("x")
    assert keys(checkout) == before


def test_a_new_model_changes_the_worker_only(checkout):
    before = keys(checkout)
    (checkout / "runtime/sample_model/sample-chat/config.json").write_text("{}")
    assert changed(before, keys(checkout)) == {"runtime-llamacpp"}


def test_a_checkout_without_the_model_is_refused_for_a_worker(checkout):
    (checkout / "runtime/sample_model/sample-chat/sample-chat-f16.gguf").unlink()
    with pytest.raises(steps.StepError, match=r"sample-chat has no sample model \(\*\.gguf\): runtime-llamacpp"):
        inputs.offline_key(IMAGES["runtime-llamacpp"], checkout)
    assert inputs.offline_key(IMAGES["queue"], checkout)


def test_an_engine_builds_again_when_its_containerfile_changes(checkout):
    before = inputs.engine_key("docker", IMAGES["operator"], checkout)
    assert inputs.engine_key("podman", IMAGES["operator"], checkout) != before
    (checkout / "operator/Containerfile").write_text("FROM debian")
    assert inputs.engine_key("docker", IMAGES["operator"], checkout) != before
