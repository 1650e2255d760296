"""The installed program: what it costs to start, pipes, completion, version."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headrace_cli.__main__ as program

pytestmark = pytest.mark.slow

HEADRACE = Path(sys.executable).parent / "headrace"


def headrace(*arguments, text="", **environment):
    return subprocess.run(
        [HEADRACE, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_imports_neither_pydantic_nor_yaml_nor_rich():
    code = (
        "import sys, headrace_cli.__main__ as m; sys.argv = ['headrace', '--help']\ntry: m.main()\nexcept SystemExit: "
    )
    code += "print({'pydantic', 'yaml', 'rich', 'headrace_api.inference_model'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", program.COMMANDS)
def test_a_commands_help_begins_with_its_line_in_the_list(name):
    module, summary = program.COMMANDS[name]
    path = Path(program.__file__).with_name(f"{module}.py")
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    docstring = next(ast.get_docstring(node) for node in functions if node.name == "command")
    assert docstring.splitlines()[0] == summary
    result = headrace(name, "--help")
    assert result.returncode == 0, result.stderr
    assert " ".join(summary.split()) in " ".join(result.stdout.split())


def test_version():
    assert headrace("--version").stdout.startswith("headrace 0.")


@pytest.mark.parametrize(
    ("line", "offered"),
    [("headrace ex", {"export", "explain"}), ("headrace lint --format ", {"text", "github", "json"})],
)
def test_completion(line, offered):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_HEADRACE_COMPLETE": "complete_bash"}
    assert set(headrace(**words).stdout.split()) == offered


def test_the_completion_script_is_shown():
    # Which shell it is for is told from the processes above it; the second command keeps bash from stepping aside.
    shell = ["bash", "-c", '"$0" --show-completion; exit $?', HEADRACE]
    shown = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    assert "_HEADRACE_COMPLETE=complete_bash" in shown


def test_a_command_that_is_none_is_told_with_what_was_meant():
    result = headrace("lnt")
    assert result.returncode == 2
    assert "Did you mean 'lint'?" in result.stderr


def test_a_terminal_gets_colours_and_a_pipe_does_not(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("a: [")
    plain = headrace("lint", str(wrong))
    assert "\x1b" not in plain.stdout
    code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
    coloured = subprocess.run(
        [sys.executable, "-c", code, HEADRACE, "lint", wrong],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": ""},
    )
    assert b"\x1b[" in coloured.stdout


def test_json_in_a_pipe_is_nothing_else(model_text):
    assert json.loads(headrace("lint", "--format", "json", "-", text=model_text).stdout) == []


def test_a_closed_pipe_is_no_error(model_text):
    with subprocess.Popen(
        [HEADRACE, "render", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        process.stdin.write(model_text)
        process.stdin.close()
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("command", ["render", "explain"])
def test_a_full_disk_is_told_in_one_line(command, model_text, tmp_path):
    model = tmp_path / "model.yaml"
    model.write_text(model_text)
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([HEADRACE, command, model], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert "headrace: cannot write: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
