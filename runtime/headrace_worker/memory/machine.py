"""The memory of this machine: of its GPUs as NVIDIA's driver tells it, and of the container as its cgroup limits it."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace_worker import libraries

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of cgroup version 2 and 1: a number of bytes, or `max`."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NO_DEVICE = ("NoDevFiles", "none", "void")
"""What NVIDIA's programs write there for no GPU."""


@dataclass(frozen=True)
class GpuMemory:
    """One GPU; bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class Machine:
    """What an engine may use; bytes."""

    gpus: tuple[GpuMemory, ...] = ()
    """Those that the engine can see and whose memory is known."""
    gpus_without_memory: int = 0
    """Those that share the machine's memory, or are slices of which the driver tells nothing."""
    main: int | None = None
    """Main memory that is free to use within the container's limit; None: not known."""
    cpu_only: bool = False
    """Whether the engine is known to compute on the CPU only: then no GPU is listed. Without that and without a GPU in
    the list, it may use one of which nothing is known here."""


def read(environment: Mapping[str, str], *, cpu_only: bool = False) -> Machine:
    """Ask the driver and the system.

    Args:
        environment: the engine's, whose CUDA_VISIBLE_DEVICES counts.
        cpu_only: what is known of the engine (see `Machine`).
    """
    known, unknown = ((), 0) if cpu_only else _gpus(environment.get(_VISIBLE))
    main = min([psutil.virtual_memory().available, *_limits(map(Path, _LIMITS))])
    return Machine(known, unknown, main, cpu_only)


def _limits(files: Iterable[Path]) -> Iterable[int]:
    for file in files:
        try:
            text = file.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)


def visible(selection: str | None, uuids: list[str]) -> tuple[list[int], int]:
    """What CUDA_VISIBLE_DEVICES leaves: numbers of the driver's list, and how many that are not in it (MIG slices).

    Words are numbers or beginnings of ids; like CUDA, this stops at the first that means none.
    """
    if selection is None:
        return list(range(len(uuids))), 0
    chosen: list[int] = []
    others = 0
    for word in (part.strip() for part in selection.split(",")):
        if word.isdigit() and int(word) < len(uuids):
            chosen.append(int(word))
        elif not word or word in _NO_DEVICE or word.lstrip("-").isdigit():
            break
        elif found := [number for number, uuid in enumerate(uuids) if uuid.startswith(word)]:
            chosen.append(found[0])
        else:
            others += 1
    return chosen, others


def _gpus(selection: str | None) -> tuple[tuple[GpuMemory, ...], int]:
    if not libraries.is_there(libraries.NVML):
        return (), 0
    import pynvml  # noqa: PLC0415 (it takes a tenth of a second)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), 0
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        chosen, others = visible(selection, [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])
        found = [_gpu(handles[number]) for number in chosen]
    except pynvml.NVMLError:
        return (), 0
    finally:
        pynvml.nvmlShutdown()
    known = tuple(gpu for gpu in found if gpu)
    return known, len(found) - len(known) + others


def _gpu(handle: object) -> GpuMemory | None:
    """None where the driver does not tell, or where an engine gets a slice of it only."""
    import pynvml  # noqa: PLC0415 (as above)

    with contextlib.suppress(pynvml.NVMLError):  # most GPUs cannot be divided
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            return None
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None
    return GpuMemory(str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))
