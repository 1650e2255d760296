"""What the worker tells a queue about its machine, in the units of the seed protocol.

A driver that is missing or broken is no reason not to work: what it does not tell is left out, and the log says why.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from headrace_api.wire import Gpu, Registration
from headrace_worker import libraries, opencl
from headrace_worker.cpus import cpu_count
from headrace_worker.engine_process import ScriptError, run_script

_GB = 10**9
_OPENCL_S = 10.0

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
    """All of it."""

    nvidia: NvidiaFacts
    opencl: OpenClFacts
    cpu_count: int
    disk_bytes: int
    """Free in the file system of the model cache."""


def nvidia_here() -> NvidiaFacts:
    """Ask the NVIDIA driver where there is one; the one thing that must be known before an engine is started."""
    return nvidia() if libraries.is_there(libraries.NVML) else NvidiaFacts()


def machine(known: NvidiaFacts, cache: Path) -> Machine:
    """Ask for the rest; `cache` is the folder of the model cache, which need not be there yet."""
    found = Machine(known, open_cl(), cpu_count(), free_bytes(cache))
    log.info("this machine", **registration(found).model_dump(exclude_defaults=True))
    return found


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
    from headrace_worker import nvml  # noqa: PLC0415 (`pynvml` loads for a tenth of a second: see `nvidia_here`)

    driver, gpus = nvml.ask()
    return NvidiaFacts(driver, gpus)


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


def _megabytes(gpus: tuple[Gpu, ...]) -> int:
    return int(sum(gpu.memory or 0 for gpu in gpus))
