"""The memory of this machine: of its GPUs as NVIDIA's driver tells it, and of the container as its cgroup limits it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace_worker import libraries

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of cgroup version 2 and 1: a number of bytes, or `max`."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"


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


def read(environment: Mapping[str, str]) -> Machine:
    """Ask the driver and the system; `environment` is the engine's, whose CUDA_VISIBLE_DEVICES counts."""
    known, unknown = _gpus(environment.get(_VISIBLE))
    return Machine(known, unknown, min([psutil.virtual_memory().available, *_limits(map(Path, _LIMITS))]))


def _limits(files: Iterable[Path]) -> Iterable[int]:
    for file in files:
        try:
            text = file.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)


def visible(selection: str | None, uuids: list[str]) -> list[int]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves: numbers or beginnings of ids, up to the first that means none."""
    if selection is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for word in (part.strip() for part in selection.split(",")):
        if word.isdigit() and int(word) < len(uuids):
            chosen.append(int(word))
        elif found := [number for number, uuid in enumerate(uuids) if word and uuid.startswith(word)]:
            chosen.append(found[0])
        else:
            break
    return chosen


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
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        found = [_gpu(handles[number]) for number in visible(selection, uuids)]
    except pynvml.NVMLError:
        return (), 0
    finally:
        pynvml.nvmlShutdown()
    known = tuple(gpu for gpu in found if gpu)
    return known, len(found) - len(known)


def _gpu(handle: object) -> GpuMemory | None:
    import pynvml  # noqa: PLC0415 (as above)

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None
    return GpuMemory(str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))
