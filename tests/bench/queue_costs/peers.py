"""Peers that a registry has: installed, when asked for, into an environment of their own that is kept."""

import subprocess
import sys
from pathlib import Path

PACKAGES = {"litellm": "litellm[proxy]==1.109.1", "vllm-router": "vllm-router==0.1.17"}
_LITELLM = """model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "{engine}/v1", api_key: bench}}
"""


def install(cache: Path) -> dict[str, Path]:
    """The environments' folders of programs, by peer."""
    return {name: _installed(cache / name, package) for name, package in PACKAGES.items()}


def _installed(folder: Path, package: str) -> Path:
    mark = folder / "installed.txt"
    if not mark.exists() or mark.read_text() != package:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", package], check=True)
        mark.write_text(package)
    return folder / "bin"


def commands(programs: dict[str, Path], folder: Path, engine_url: str) -> dict[str, str]:
    """Their command lines, as `--peer` takes them."""
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM.format(engine=engine_url))
    router = "--worker-urls {engine} --policy round_robin --log-level error"
    return {
        "litellm": f"{programs['litellm']}/litellm --config {config} --host 127.0.0.1 --port {{port}}",
        "vllm-router": f"{programs['vllm-router']}/vllm-router --host 127.0.0.1 --port {{port}} {router}",
    }
