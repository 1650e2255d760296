"""Write the tables of the engines' arguments, runtime/headrace_api/engine_arguments/, from the engines themselves.

`python crds/engine_arguments.py` makes llama.cpp's from the installed xllamacpp; with `--vllm PYTHON` also vLLM's, in
an interpreter that has vLLM's requirements (that of kind/engines will do): where it has another version than
pyproject.toml pins, the pinned one is installed beside it for the time being; with `--tensorrt-llm TREE` also
TensorRT-LLM's, from a source tree of it. `--check` only compares, and exits 1 on a difference.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import read_trtllm_arguments
import xllamacpp

from headrace_api.engine_arguments.argument import Argument, Kind

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "runtime" / "headrace_api" / "engine_arguments"
READER = Path(__file__).with_name("read_vllm_arguments.py")

LLAMACPP_NAMES = {
    "cache_type_k": "cache_type_k",
    "chat_template_kwargs": "default_template_kwargs",
    "flash_attn": "flash_attn_type",
    "n_threads": "cpuparams.n_threads",
    "n_threads_batch": "cpuparams_batch.n_threads",
    "rope_scaling": "rope_scaling_type",
}
"""Names that differ from the field's, as llama.cpp's command line has them."""

LLAMACPP_ELSEWHERE = frozenset(
    {
        # the worker's own business: see headrace_api.engine_arguments.knowledge
        "model",
        "model_alias",
        "model_tags",
        "port",
        "hostnames",
        "use_jinja",
        "ui",
        "reuse_port",
        "api_keys",
        "api_prefix",
        "ssl_file_cert",
        "ssl_file_key",
        # other users of the HTTP server: browsers, a router of models, tools
        "cors_credentials",
        "cors_headers",
        "cors_methods",
        "cors_origins",
        "cors_origins_explicit",
        "mcp_servers_config",
        "mcp_servers_json",
        "models_autoload",
        "models_dir",
        "models_max",
        "models_preset",
        "models_preset_hf",
        "public_path",
        "server_base",
        "server_tools",
        "server_tools_runtime",
        "ui_config_json",
        "ui_mcp_proxy",
        # llama.cpp's other programs: chat in a terminal, perplexity, benchmarks, importance matrices, speech
        "activation_statistics",
        "antiprompt",
        "check",
        "chunk_separator",
        "chunk_size",
        "cls_sep",
        "compute_ppl",
        "context_files",
        "display_prompt",
        "embd_out",
        "embd_sep",
        "escape",
        "fit_params_print",
        "hellaswag",
        "hellaswag_tasks",
        "i_chunk",
        "i_pos",
        "image",
        "imat_dat",
        "in_files",
        "input_prefix",
        "input_prefix_bos",
        "input_suffix",
        "interactive",
        "is_gen_docs",
        "is_pp_shared",
        "is_tg_separate",
        "kl_divergence",
        "logits_file",
        "logits_output_dir",
        "multiline_input",
        "multiple_choice",
        "multiple_choice_tasks",
        "n_chunks",
        "n_junk",
        "n_out_freq",
        "n_pca_batch",
        "n_pca_iterations",
        "n_pl",
        "n_pp",
        "n_print",
        "n_save_freq",
        "n_sequences",
        "n_tg",
        "out_file",
        "parse_special",
        "path_prompt_cache",
        "ppl_output_type",
        "ppl_stride",
        "process_output",
        "prompt",
        "prompt_cache_all",
        "prompt_cache_ro",
        "prompt_file",
        "save_logits",
        "show_statistics",
        "show_timings",
        "simple_io",
        "single_turn",
        "system_prompt",
        "tensor_filter",
        "tokenize_ids",
        "tokenize_no_bos",
        "tokenize_show_count",
        "tokenize_stdin",
        "tts_lang",
        "tts_speaker_file",
        "usage",
        "use_color",
        "verbose_prompt",
        "winogrande",
        "winogrande_tasks",
        "grp_attn_n",
        "grp_attn_w",
        # internal state, or of use only with what is not a plain value
        "control_vector_layer_end",
        "control_vector_layer_start",
        "force_pure_content_parser",
        "lora_adapters",
        "lora_init_without_apply",
        "n_outputs_max",
        "n_outputs_max_per_seq",
        "no_alloc",
        "preserve_reasoning_specified",
        "tensor_buft_overrides",
        "path_prompts_log_dir",
    }
)

PLAIN: Mapping[type, Kind] = {bool: "boolean", int: "integer", float: "number", str: "string"}

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""llama.cpp's enumeration has all types of weights; its server takes these for the KV cache (common/arg.cpp)."""

NOT_WORDS = {"unspecified", "count", "max_value", "mirror"}
"""Members of enumerations that are no choices; llama.cpp's command line does not offer `mirror` for NUMA."""


def llamacpp() -> dict[str, Argument]:
    """The arguments of llama.cpp's server, from the fields of `CommonParams` and their values."""
    params = xllamacpp.CommonParams()
    renamed = {target: name for name, target in LLAMACPP_NAMES.items()}
    fields = {name for name in dir(params) if not name.startswith("_")} - LLAMACPP_ELSEWHERE
    found = {
        renamed.get(field, field): _llamacpp_argument(field, _value(params, field))
        for field in {*fields, *LLAMACPP_NAMES.values()}
    }
    return {name: argument for name, argument in sorted(found.items()) if argument}


def _value(params: Any, field: str) -> Any:
    for part in field.split("."):
        params = getattr(params, part)
    return params


def _llamacpp_argument(field: str, value: Any) -> Argument | None:
    target = field if field in LLAMACPP_NAMES.values() and LLAMACPP_NAMES.get(field) != field else ""
    if isinstance(value, IntEnum):
        words = CACHE_TYPES if field.startswith("cache_type_") else _words(type(value))
        default = _words(type(value), keep=True)[list(type(value)).index(value)]
        return Argument("string", words, target=target, default=default if default in words else None)
    if isinstance(value, list):
        return Argument(PLAIN.get(type(value[0]), "string") if value else "string", many=True, target=target)
    if isinstance(value, dict):
        return Argument("map of texts", target=target)
    kind = PLAIN.get(type(value))  # none for a nested structure
    return Argument(kind, default=value, target=target) if kind else None


def _words(enum: type[IntEnum], *, keep: bool = False) -> tuple[str, ...]:
    prefix = os.path.commonprefix(list(enum.__members__))  # noqa: RUF071 - of names, not of paths
    prefix = prefix[: prefix.rindex("_") + 1]
    words = [name.removeprefix(prefix).lower() for name in enum.__members__]
    return tuple(word for word in words if keep or word not in NOT_WORDS)


def pinned_vllm() -> str:
    """The version that pyproject.toml pins."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    requirement: str = extras["vllm"][0]
    return requirement.partition("==")[2].partition(";")[0].strip()


def vllm(python: Path, version: str) -> dict[str, Argument]:
    """The arguments of a version of vLLM, read by an interpreter that has vLLM's requirements."""
    with vllm_environment(python, version) as environment:
        result = subprocess.run([python, READER], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(result.stdout.splitlines()[-1])  # vLLM logs on stdout too
    if found["version"].partition("+")[0] != version:
        raise SystemExit(f"vLLM {found['version']} was read, not {version}")
    return {name: _from_json(told) for name, told in sorted(found["arguments"].items())}


@contextmanager
def vllm_environment(python: Path, version: str) -> Iterator[dict[str, str]]:
    """Environment variables with which an interpreter that has vLLM's requirements has that version of vLLM."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if _installed_vllm(python) != version:
            _install_vllm(python, version, folder)
            environment["PYTHONPATH"] = folder
        yield environment


def _installed_vllm(python: Path) -> str:
    code = "from importlib.metadata import version as v, packages_distributions as p; print(v(p()['vllm'][0]))"
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def _install_vllm(python: Path, version: str, folder: str) -> None:
    sys.path.insert(0, str(ROOT / "kind"))
    from toolbox.uv import uv  # noqa: PLC0415 - needs the line above

    command: list[str | Path] = [uv(), "pip", "install", "--quiet", "--no-deps", "--target", folder, "--python", python]
    subprocess.run([*command, f"vllm=={version}"], check=True)


def _from_json(told: Mapping[str, Any]) -> Argument:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Argument(**values)


def text(engine: str, version: str, arguments: Mapping[str, Argument], *, command_line: bool) -> str:
    """The module with the table."""
    rows = "".join(f"    {name!r}: {_row(argument)},\n" for name, argument in arguments.items())
    head = f'"""The arguments of {engine} {version}. Generated by crds/engine_arguments.py: do not edit."""\n\n'
    imports = "from headrace_api.engine_arguments.argument import Argument, Table\n\n"
    table = f"TABLE = Table({engine!r}, {version!r}, _ARGUMENTS, command_line={command_line})\n"
    source = f"{head}{imports}_ARGUMENTS = {{\n{rows}}}\n\n{table}"
    ruff: list[str | Path] = [
        Path(sys.executable).with_name("ruff"),
        "format",
        "--stdin-filename",
        FOLDER / "table.py",
        "-",
    ]
    result = subprocess.run(ruff, input=source, stdout=subprocess.PIPE, text=True, check=True)
    return str(result.stdout)


def _row(argument: Argument) -> str:
    usual = Argument(argument.kind)
    unusual = {key: value for key, value in argument._asdict().items() if value != getattr(usual, key)}
    return f"Argument({', '.join([repr(argument.kind), *(f'{key}={value!r}' for key, value in unusual.items())])})"


def outputs(vllm_python: Path | None, trtllm_tree: Path | None) -> dict[Path, str]:
    """The generated files and their texts."""
    made = {"llamacpp": text("llama.cpp", f"xllamacpp {xllamacpp.__version__}", llamacpp(), command_line=False)}
    if vllm_python:
        version = pinned_vllm()
        made["vllm"] = text("vLLM", version, vllm(vllm_python, version), command_line=True)
    if trtllm_tree:
        version, arguments = read_trtllm_arguments.read(trtllm_tree)
        made["tensorrt_llm"] = text("TensorRT-LLM", version, arguments, command_line=False)
    return {FOLDER / f"{name}.py": content for name, content in made.items()}


def main() -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--vllm", type=Path, metavar="PYTHON", help="an interpreter that has vLLM's requirements")
    parser.add_argument("--tensorrt-llm", type=Path, metavar="TREE", help="a source tree of TensorRT-LLM")
    options = parser.parse_args()
    made = outputs(options.vllm, options.tensorrt_llm)
    stale = [path for path, content in made.items() if not path.is_file() or path.read_text() != content]
    for path in stale:
        if not options.check:
            path.write_text(made[path])
        print(f"{path.relative_to(ROOT)}{' is not current: run crds/engine_arguments.py' if options.check else ''}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
