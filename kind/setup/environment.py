"""The checkout's own Python environment, `.venv`, from uv.lock."""

import sys
from pathlib import Path

from toolbox import paths, steps
from toolbox.uv import uv

EXTRAS = ("operator", "queue", "worker", "cli", "llamacpp")
"""Every program, and the engine that runs anywhere. The vendors' GPU engines (`vllm`, `tensorrt-llm`) are extras too,
but tens of gigabytes that only a machine with GPUs has a use for."""


def ensure() -> Path:
    """`.venv` at the checkout's root with every program and the development tools; a second call takes a moment."""
    command: list[str | Path] = [uv(), "sync", "--frozen", "--python", sys.executable]
    for extra in EXTRAS:
        command += ["--extra", extra]
    steps.run(command, log="environment", cwd=paths.ROOT, env={"UV_PROJECT_ENVIRONMENT": ".venv"})
    return paths.ROOT / ".venv"
