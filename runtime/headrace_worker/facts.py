"""What the worker tells a queue about its machine, in the units of the seed protocol.

A driver that is missing or broken is no reason not to work: what it does not tell is left out, and the log says why.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pynvml
import structlog

from headrace_api.wire import Gpu, Registration
from headrace_worker import opencl
from headrace_worker.cpus import cpu_count
from headrace_worker.engine_process import ScriptError, run_script

_MB = 2**20
_GB = 10**9
_OPENCL_S = 10.0
_ABSENT = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
"""No NVIDIA driver, or one that found no GPU: nothing is wrong."""

log = structlog.get_logger()


@dataclass(frozen=True)
class NvidiaFacts:
    """What the NVIDIA driver says; `driver` is None where there is none, or none that works."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class OpenClFacts:
    """What OpenCL says; `driver` is None where there is no device of any kind."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Machine:
    """All of it, asked once."""

    nvidia: NvidiaFacts
    opencl: OpenClFacts
    cpu_count: int
    disk_bytes: int
    """Free in the file system of the model cache."""


def machine(cache: Path) -> Machine:
    """Ask the machine; `cache` is the folder of the model cache, which need not be there yet."""
    return Machine(nvidia(), open_cl(), cpu_count(), free_bytes(cache))


def registration(found: Machine, ln_url: str = "") -> Registration:
    """The machine as a worker registers it: free disk in GB (10**9 bytes), memory of all GPUs together in MB (2**20).

    OpenCL lists NVIDIA's GPUs a second time; its memory counts where NVIDIA's driver has none.
    """
    gpus, others = found.nvidia.gpus, found.opencl.gpus
    here = found.nvidia.driver is not None
    return Registration(
        ln_url=ln_url,
        cpu_count=found.cpu_count,
        disk_space=found.disk_bytes // _GB,
        vram=_megabytes(gpus) or _megabytes(others),
        nv_gpu_count=len(gpus) if here else None,
        nv_driver_version=found.nvidia.driver,
        nv_gpus=list(gpus),
        cl_driver_version=found.opencl.driver,
        cl_gpus=list(others),
    )


def nvidia() -> NvidiaFacts:
    """Ask the NVIDIA driver; memory in MB (2**20 bytes, as NVIDIA's own tools count)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value not in _ABSENT:
            log.warning("the NVIDIA driver does not work", error=str(error))
        return NvidiaFacts()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return NvidiaFacts(driver, tuple(gpu for index in range(pynvml.nvmlDeviceGetCount()) for gpu in _gpus(index)))
    except (pynvml.NVMLError, UnicodeDecodeError) as error:
        log.warning("the NVIDIA driver does not work", error=str(error))
        return NvidiaFacts()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def open_cl() -> OpenClFacts:
    """Ask OpenCL, in a process of its own; nothing where there is none."""
    if not opencl.present():
        return OpenClFacts()
    try:
        told = json.loads(run_script(Path(opencl.__file__), _OPENCL_S))
        return OpenClFacts(told["driver"], tuple(Gpu(**gpu) for gpu in told["gpus"]))
    except (ScriptError, ValueError) as error:
        log.warning("OpenCL does not work", error=str(error))
        return OpenClFacts()


def free_bytes(folder: Path) -> int:
    """Free in the file system that the folder is in, or will be; what only root may use does not count."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _gpus(index: int) -> Iterator[Gpu]:
    """The GPU with this number, or its MIG slices; one that has fallen off the bus is no use to an engine."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        log.warning("a GPU does not answer", index=index, error=str(error))
        return
    for device in _slices(handle) or [handle]:
        yield _gpu(device)


def _slices(handle: object) -> list[object]:
    try:
        if not pynvml.nvmlDeviceGetMigMode(handle)[0]:
            return []
        count = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except pynvml.NVMLError:  # most GPUs cannot be divided
        return []
    return [device for index in range(count) if (device := _slice(handle, index))]


def _slice(handle: object, index: int) -> object | None:
    try:
        found: object = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
    except pynvml.NVMLError:  # not in use
        return None
    return found


def _gpu(handle: object) -> Gpu:
    try:
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // _MB
    except pynvml.NVMLError:  # some GPUs share the machine's memory and report none of their own
        memory = None
    return Gpu(name=str(pynvml.nvmlDeviceGetName(handle)), memory=memory)


def _megabytes(gpus: tuple[Gpu, ...]) -> int:
    return int(sum(gpu.memory or 0 for gpu in gpus))
