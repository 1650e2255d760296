"""What the worker tells a queue about its machine, in the units of the seed protocol."""

import os
import shutil
from dataclasses import dataclass

import pynvml

from headrace_api.wire import Gpu, Registration


@dataclass(frozen=True)
class NvidiaFacts:
    """What the NVIDIA driver says; `driver` is None where there is none."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()


def nvidia() -> NvidiaFacts:
    """Ask the NVIDIA driver; memory in MB (2**20 bytes, as NVIDIA's own tools count)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return NvidiaFacts()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return NvidiaFacts(str(pynvml.nvmlSystemGetDriverVersion()), tuple(_gpu(handle) for handle in handles))
    except pynvml.NVMLError:
        return NvidiaFacts()
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> Gpu:
    try:
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20
    except pynvml.NVMLError:  # some GPUs share the machine's memory and report none of their own
        memory = None
    return Gpu(name=str(pynvml.nvmlDeviceGetName(handle)), memory=memory)


def registration(nvidia_facts: NvidiaFacts) -> Registration:
    """The machine: CPUs this process may use, free disk in GB (10**9 bytes), memory of all GPUs together in MB."""
    found = nvidia_facts.driver is not None
    return Registration(
        ln_url="",
        cpu_count=len(os.sched_getaffinity(0)),
        disk_space=shutil.disk_usage("/").free // 10**9,
        vram=sum(gpu.memory or 0 for gpu in nvidia_facts.gpus),
        nv_gpu_count=len(nvidia_facts.gpus) if found else None,
        nv_driver_version=nvidia_facts.driver,
        nv_gpus=list(nvidia_facts.gpus),
    )
