"""The tests of queue, worker and simulation once more, on the modules that images have compiled (decision 28)."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compile_core
from images import core

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("headrace_api", "headrace_queue", "headrace_worker")
FILES = [file for program in core.PROGRAMS for file in compile_core.files(program)]
_SEEDS = "1000"
"""Of the simulation; the others run on the sources, whose every step is the same."""
PARTS = {
    "queue": ["tests/queue"],
    "worker": ["tests/worker", "-m", "not engine and not cluster"],
    "simulation": ["tests/simulation", "-k", "not finds_what_is_broken"],  # that replaces functions
}


@pytest.mark.parametrize("file", FILES)
def test_what_is_compiled_does_not_wait(file):
    tree = ast.parse((compile_core.SOURCES / file).read_text())
    waiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(tree) if isinstance(node, waiting)]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The variables with which Python takes the compiled modules."""
    folder = tmp_path_factory.mktemp("compiled")
    for package in PACKAGES:
        shutil.copytree(ROOT / "runtime" / package, folder / package)
    for program in core.PROGRAMS:
        shutil.copytree(core.ensure(program, ROOT), folder, dirs_exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(folder), "HEADRACE_SIMULATION_SEEDS": _SEEDS}


@pytest.mark.compiled
def test_the_compiled_modules_are_taken(compiled):
    names = [file.removesuffix(".py").replace("/", ".") for file in FILES]
    code = f"import importlib\nfor name in {names}: print(importlib.import_module(name).__file__)"
    result = subprocess.run([sys.executable, "-c", code], env=compiled, capture_output=True, text=True, check=True)
    found = result.stdout.split()
    assert len(found) == len(names)
    assert all(file.startswith(compiled["PYTHONPATH"]) and file.endswith(".so") for file in found), found


@pytest.mark.compiled
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", PARTS)
def test_compiled_modules_pass_the_same_tests(compiled, part):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PARTS[part]]
    result = subprocess.run(command, cwd=ROOT, env=compiled, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-5_000:]
    assert re.search(r"\d+ passed", result.stdout)
