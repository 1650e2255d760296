"""Rules of the house that import-linter cannot see."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for room in ("operator", "runtime") for path in (ROOT / room).rglob("*.py")]


def attributes(path):
    """Every `name.attribute` in the file."""
    tree = ast.parse(path.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {f"{node.value.id}.{node.attr}" for node in nodes if isinstance(node.value, ast.Name)}


def users(*wanted):
    return {path.relative_to(ROOT).as_posix() for path in SOURCES if attributes(path) & set(wanted)}


def test_the_environment_is_read_in_settings_only():
    found = {path for path in users("os.environ", "os.getenv") if not path.startswith("runtime/sample_model/")}
    assert found == {"operator/headrace_operator/settings.py", "runtime/headrace_worker/settings.py"}


def test_processes_are_started_in_one_room_of_a_program():
    assert users("asyncio.create_subprocess_exec", "subprocess.run", "subprocess.Popen") == {
        "operator/headrace_cli/kubectl.py",
        "runtime/headrace_worker/engine_process.py",
    }


def test_operator_and_runtime_are_plain_folders():
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "runtime" / "__init__.py").exists()
