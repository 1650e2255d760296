"""Packages for an engine: the real pip, with a package index that is a folder of wheels made here."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace_api import runtime_env
from headrace_api.runtime_env import Pip
from headrace_api.wire import Register, Registered
from headrace_worker.runtime_env import content
from headrace_worker.runtime_env.content import Pips
from headrace_worker.runtime_env.overlay import Overlay, OverlayError
from headrace_worker.runtime_env.part import interpreter
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.test_llamacpp_worker import GENERATOR
from tests.worker.wheel_files import wheel
from tests.worker.worker_process import worker

PIPS = Pips(sys.executable, sys.executable)


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., Overlay]:
    wheels = tmp_path / "wheels"
    wheel(wheels, "millrace", "1.0", "said = 'one'")
    # pydantic is where the engine is, and in no folder of wheels: it must not be asked for
    wheel(wheels, "millrace", "2.0", "import tailrace\nsaid = tailrace.said", ("tailrace>=3", "pydantic>=2"))
    wheel(wheels, "tailrace", "3.1", "said = 'two'")

    def make(*packages: str, tell: Callable[[str], None] = print, **more: Any) -> Overlay:
        pip = Pip(packages, ("--no-index", "--find-links", str(wheels)), **more)
        return Overlay(pip, PIPS, tmp_path / "cache", dict(os.environ), tell)

    return make


def says(folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": content.python_path(folder, os.environ)}
    command = [sys.executable, "-c", "import millrace; print(millrace.said)"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
async def test_packages_are_found_with_what_they_need_and_not_what_is_there(overlay: Callable[..., Overlay]) -> None:
    folder = await overlay("millrace").ready()
    assert says(folder) == "two"
    assert {path.name for path in folder.glob("*.dist-info")} == {"millrace-2.0.dist-info", "tailrace-3.1.dist-info"}
    assert not list(folder.parent.glob("*.partial"))


@pytest.mark.slow
async def test_they_are_installed_once_for_all_workers(overlay: Callable[..., Overlay]) -> None:
    told: list[str] = []
    folders = await asyncio.gather(*(overlay("millrace==1.0", tell=told.append).ready() for _ in range(3)))
    assert len(set(folders)) == 1
    assert told == ["installing millrace==1.0"]
    assert says(folders[0]) == "one"
    assert await overlay("millrace==1.0", tell=told.append).ready() == folders[0]
    assert len(told) == 1

    # what a killed worker has left is taken away
    partial = folders[0].with_suffix(".partial")
    folders[0].rename(partial)
    (partial / "half.py").write_text("")
    assert await overlay("millrace==1.0").ready() == folders[0]
    assert not partial.exists()
    assert not (folders[0] / "half.py").exists()


async def test_a_worker_that_is_stopped_leaves_nothing(overlay: Callable[..., Overlay]) -> None:
    begun = asyncio.Event()
    making = asyncio.create_task(overlay("millrace", tell=lambda _: begun.set()).ready())
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    cache = overlay("millrace").cache
    assert [path.suffix for path in cache.iterdir() if path.name != "pip"] == [".lock"]


@pytest.mark.slow
async def test_pips_last_lines_are_told(overlay: Callable[..., Overlay]) -> None:
    words = r"(?s)cannot find millrace==7: pip exited with status 1:\n.*No matching distribution"
    with pytest.raises(OverlayError, match=words) as told:
        await overlay("millrace==7").ready()
    assert "2.0" in str(told.value)


@pytest.mark.slow
async def test_without_an_index_it_fails_soon_and_says_so(tmp_path: Path) -> None:
    pip = Pip(("no-such-package-here",), ("--index-url", "http://127.0.0.1:9/simple", "--retries", "0"))
    with pytest.raises(
        OverlayError, match=r"(?s)find no-such-package-here.*none can be reached from here: name one in PIP_I"
    ):
        await Overlay(pip, PIPS, tmp_path, dict(os.environ), print).ready()


async def test_a_cache_that_cannot_be_written(tmp_path: Path, overlay: Callable[..., Overlay]) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OverlayError, match=r"cannot keep packages in .*cache"):
        await overlay("millrace").ready()


@pytest.mark.slow
async def test_what_does_not_go_together_is_found_where_that_is_asked_for(overlay: Callable[..., Overlay]) -> None:
    alone = overlay("millrace==2.0", check=True)
    alone = replace(alone, pip=replace(alone.pip, options=(*alone.pip.options, "--no-deps")))
    with pytest.raises(OverlayError, match=r"millrace 2\.0 requires tailrace, which is not installed"):
        await alone.ready()


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ({"pip": ["a>=1", "b @ https://x/b.whl"]}, Pip(("a>=1", "b @ https://x/b.whl"))),
        ({"pip": {"packages": ["a"], "pip_check": True, "pip_version": None}}, Pip(("a",), check=True)),
        ({"pip": {"packages": ["a"], "pip_install_options": ["--pre"]}}, Pip(("a",), ("--pre",))),
        ({"pip": []}, None),
        ({"pip": None, "conda": None}, None),
        ({}, None),
    ],
)
def test_accepted(others: dict[str, Any], found: Pip | None) -> None:
    assert not list(runtime_env.refused(others))
    assert runtime_env.pip(others) == found


@pytest.mark.parametrize(
    ("others", "keys"),
    [
        (
            {"uv": ["a"], "conda": "env", "working_dir": ".", "container": {}},
            ["uv", "conda", "working_dir", "container"],
        ),
        ({"pip": "requirements.txt"}, ["pip"]),
        ({"pip": 7}, ["pip"]),
        ({"pip": [7]}, ["pip"]),
        ({"pip": ["-r other.txt"]}, ["pip"]),
        ({"pip": {"packages": "a"}}, ["pip.packages"]),
        ({"pip": {"pip_version": "==22"}}, ["pip.pip_version", "pip.packages"]),
        ({"pip": {"packages": [], "pip_check": "yes"}}, ["pip.pip_check"]),
        ({"pip": {"packages": [], "packges": []}}, ["pip.packges"]),
        ({"no_such": 1}, ["no_such"]),
    ],
)
def test_refused(others: dict[str, Any], keys: list[str]) -> None:
    assert [one.key for one in runtime_env.refused(others)] == keys


def test_whose_packages_they_are(tmp_path: Path) -> None:
    script = tmp_path / "trtllm-serve"
    script.write_text("#!/opt/venv/bin/python3\nimport x\n")
    assert interpreter(str(script)) == "/opt/venv/bin/python3"
    assert interpreter("/venv/bin/python") == "/venv/bin/python"
    assert interpreter("/bin/true") is None
    assert interpreter("/nowhere") is None


def test_the_name_of_the_folder() -> None:
    one = content.key(Pip(("a",)), "python")
    assert one == content.key(Pip(("a",)), "python")
    asked = [(Pip(("b",)), "python"), (Pip(("a",), ("--pre",)), "python"), (Pip(("a",)), "")]
    others = [content.key(*one) for one in asked]
    assert len({one, *others}) == 4
    assert content.python_path(Path("/o"), {"PYTHONPATH": "/x"}) == "/o:/x"
    assert content.python_path(Path("/o"), {}) == "/o"
    report = {
        "install": [
            {"metadata": {"name": "a", "version": "1"}, "download_info": {"url": "https://x/a"}, "is_direct": False},
            {"metadata": {"name": "b", "version": "2"}, "download_info": {"url": "file:///b"}, "is_direct": True},
        ]
    }
    assert content.decided(report) == ["a==1", "b @ file:///b"]


@pytest.mark.parametrize(
    ("info", "address"),
    [
        (
            {"url": "https://x/r.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "main"}},
            "git+https://x/r.git@c0ffee",
        ),
        (
            {"url": "ssh://git@x/r", "subdirectory": "py", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "git+ssh://git@x/r@c0ffee#subdirectory=py",
        ),
        (
            {"url": "https://x/b.tar.gz", "subdirectory": "py", "archive_info": {"hashes": {"sha256": "ab"}}},
            "https://x/b.tar.gz#sha256=ab&subdirectory=py",
        ),
        ({"url": "file:///b", "dir_info": {}}, "file:///b"),
    ],
)
def test_addresses_are_exact(info: dict[str, Any], address: str) -> None:
    item = {"metadata": {"name": "b", "version": "2"}, "download_info": info, "is_direct": True}
    assert content.decided({"install": [item]}) == [f"b @ {address}"]


BACKEND = """
import pathlib, shutil
def build_wheel(folder, *_):
    (made,) = pathlib.Path(__file__).parent.glob("*.whl")
    return pathlib.Path(shutil.copy(made, folder)).name
"""
"""Builds a package that is built already: there is no index here to get a builder from."""


def repository(folder: Path) -> str:
    """A git repository with a package in a folder of its own; its address."""
    package = folder / "python"
    wheel(package, "millrace", "1.0", "said = 'from git'")
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (package / "backend.py").write_text(BACKEND)
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "One")):
        subprocess.run(["git", *command], cwd=folder, env=alone, check=True)
    return f"git+file://{folder}"


@pytest.mark.slow
async def test_packages_from_git(tmp_path: Path) -> None:
    address = repository(tmp_path / "repository")
    pip = Pip((f"millrace @ {address}#subdirectory=python",), ("--no-index",))
    folder = await Overlay(pip, PIPS, tmp_path / "cache", dict(os.environ), print).ready()
    assert says(folder) == "from git"


@pytest.mark.slow
async def test_packages_that_are_there_are_used_without_the_right_to_write(
    overlay: Callable[..., Overlay], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = await overlay("millrace==1.0").ready()
    monkeypatch.setattr(os, "open", _refused)
    monkeypatch.setattr(Path, "mkdir", _refused)
    assert await overlay("millrace==1.0").ready() == folder


async def test_a_cache_of_others_is_told_with_what_to_do(overlay: Callable[..., Overlay]) -> None:
    foreign = replace(overlay("millrace"), cache=Path("/sys/headrace"))  # not even root can write there
    words = r"cannot keep packages in '/sys/headrace': .*/sys/headrace'; accepted: a HEADRACE_CACHE .*may write"
    with pytest.raises(OverlayError, match=words):
        await foreign.ready()


@pytest.mark.slow
async def test_a_lock_of_another_user_can_be_taken(
    overlay: Callable[..., Overlay], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def of_another_user(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        return _refused() if str(path).endswith(".lock") and flags & os.O_ACCMODE else real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", of_another_user)
    assert says(await overlay("millrace==1.0").ready()) == "one"


def _refused(*_: Any, **__: Any) -> Any:
    raise PermissionError(13, "Permission denied")


@pytest.mark.engine
async def test_the_engine_has_them_and_the_worker_does_not(tmp_path: Path, queue: ScriptedQueue) -> None:
    wheel(tmp_path / "wheels", "millrace", "1.0")
    options = ["--no-index", "--find-links", str(tmp_path / "wheels")]
    own = os.environ.get("PYTHONPATH", "/own")
    runtime = {
        "env_vars": {"MILL": "wheel", "PYTHONPATH": own},
        "pip": {"packages": ["millrace"], "pip_install_options": options},
    }
    generator = {**GENERATOR, "runtime_env": runtime}
    async with worker(tmp_path, queue.url, generator, HEADRACE_CACHE=str(tmp_path / "cache")) as process:
        connection = await queue.connection()
        await connection.expect(Register)
        await connection.send(Registered())
        await process.until_ready(60)
        engine = next(child for child in process.children() if "llamacpp_server" in " ".join(child.cmdline()))
        environment = engine.environ()
        assert environment["MILL"] == "wheel"
        first, _, rest = environment["PYTHONPATH"].partition(":")
        assert (Path(first) / "millrace.py").is_file()
        assert rest == own
        assert "packages" not in psutil.Process(process.process.pid).environ().get("PYTHONPATH", "")
