"""What buildah and a container engine are told, and that the Containerfiles say the same as the offline builder."""

import re
from pathlib import Path

import pytest

import images
from images import buildah, catalogue, engine, housekeeping, offline, rootfs
from images.catalogue import IMAGES
from toolbox import paths, steps, uv

BUILT_HERE = ["operator", "queue", "runtime-llamacpp"]


def containerfile(name: str) -> str:
    return (paths.ROOT / IMAGES[name].containerfile).read_text()


def options(name: str, option: str) -> list[str]:
    words = catalogue.config_arguments(IMAGES[name])
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_every_program_is_one_of_pyproject():
    scripts = re.findall(r"^(headrace[a-z-]*) = ", (paths.ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {image.program for image in IMAGES.values()} - {""} <= set(scripts)


def test_an_unknown_image_is_refused_with_the_known_ones():
    with pytest.raises(steps.StepError, match="image runtime: not known; accepted are operator, queue, runtime-llama"):
        images.ensure(["queue", "runtime"])


def test_a_vendor_image_needs_an_engine():
    with pytest.raises(steps.StepError, match="image runtime-vllm stands on a vendor's base image"):
        offline.archive(IMAGES["runtime-vllm"], paths.ROOT)


@pytest.mark.parametrize("name", BUILT_HERE)
def test_containerfile_and_offline_builder_agree(name):
    text = containerfile(name).replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    assert f"USER {options(name, '--user')[0]}\n" in last
    assert f"ENTRYPOINT {options(name, '--entrypoint')[0]}\n" in last
    assert f"STOPSIGNAL {options(name, '--stop-signal')[0]}\n" in last
    written = re.search(r"^ENV (.*)$", last, re.MULTILINE)
    assert written
    assert sorted(written[1].split()) == sorted(options(name, "--env"))
    for extra in IMAGES[name].extras:
        assert f"--extra {extra}" in text
    for package in set(rootfs.PACKAGES) - ({"libgomp1", "libnuma1"} if name != "runtime-llamacpp" else set()):
        assert re.search(rf"apt-get install .*\b{package}\b", text)


@pytest.mark.parametrize("name", [name for name in IMAGES if name.startswith("runtime-")])
def test_every_runtime_has_a_stage_that_is_not_root_and_holds_the_model(name):
    stages = re.split(r"^FROM ", containerfile(name), flags=re.MULTILINE)
    (stage,) = [text for text in stages if text.split("\n")[0].endswith(f" AS {IMAGES[name].target}")]
    assert stage.rindex("USER 10001:10001") > stage.rindex("COPY --from=build-")
    assert containerfile(name).count(f"COPY {catalogue.MODEL} /opt/headrace/models/sample-chat") == 2


def test_one_version_of_uv_everywhere():
    pinned = {re.search(r"/uv:([0-9.]+)$", containerfile(name), re.MULTILINE)[1] for name in BUILT_HERE}
    assert pinned == {uv.VERSION}


def test_engine_commands():
    root, file = Path("/checkout"), Path("/cache/image.tar")
    worker = IMAGES["runtime-vllm"]
    reference = "docker.io/headrace/runtime-vllm:0123"
    assert engine.build_command("docker", worker, root, "0123") == [
        *("docker", "build", "-f", "/checkout/runtime/Containerfile.worker", "--target", "vllm"),
        *("-t", reference, "/checkout"),
    ]
    assert engine.save_command("docker", worker, file, "0123") == [
        "docker",
        "save",
        "-o",
        "/cache/image.tar",
        reference,
    ]
    assert "oci-archive" in engine.save_command("podman", worker, file, "0123")


def test_pause_runs_as_nobody_in_particular():
    assert catalogue.config_arguments(IMAGES["pause"])[:4] == ["--user", "65535:65535", "--entrypoint", '["/pause"]']


@pytest.mark.parametrize(("filesystem", "driver"), [("overlayfs", "vfs"), ("ext2/ext3", "overlay"), ("xfs", "overlay")])
def test_storage_driver(filesystem, driver):
    assert buildah.driver_for(filesystem) == driver


def test_the_mirror_is_apts_own_or_left_to_debootstrap():
    assert rootfs.mirror_arguments("http://mirror.test/debian/\nhttp://other.test/debian/\n") == [
        "http://mirror.test/debian/"
    ]
    assert rootfs.mirror_arguments("\n") == []


def test_old_results_go_but_not_the_last_three_nor_fresh_ones():
    day, hour = 86400.0, 3600.0
    folders = [(Path(name), used) for name, used in [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]]
    assert housekeeping.superfluous(folders, day) == [Path("a")]
    fresh = [(Path(str(minute)), day - 60.0 * minute) for minute in range(5)]
    assert housekeeping.superfluous(fresh, day) == []
    assert housekeeping.superfluous(fresh, day + hour) == [Path("3"), Path("4")]
