"""A stand-in for NVIDIA's library, `libnvidia-ml.so.1`: the functions that `pynvml` calls, with ctypes' arguments."""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import pynvml

OK = 0


@dataclass
class StandInGpu:
    name: bytes = b"NVIDIA H100 80GB HBM3"
    memory_bytes: int | None = 80 * 2**30
    """None: not supported."""
    lost: bool = False
    slices: "list[StandInGpu | None] | None" = None
    """MIG slices, None for one that is not in use; None: the GPU cannot be divided."""


@dataclass
class Nvml:
    """`fails` maps functions to the error that they answer with."""

    gpus: list[StandInGpu] = field(default_factory=list)
    driver: bytes = b"565.57.01"
    fails: dict[str, int] = field(default_factory=dict)
    open: int = 0

    def __post_init__(self) -> None:
        self.handles: list[StandInGpu] = []

    def __getattribute__(self, name: str) -> Any:
        code = object.__getattribute__(self, "fails").get(name) if name.startswith("nvml") else None
        return object.__getattribute__(self, name) if code is None else lambda *_: code

    def handle(self, gpu: StandInGpu) -> int:
        self.handles.append(gpu)
        return len(self.handles)

    def gpu(self, handle: Any) -> StandInGpu:
        return self.handles[number_of(handle) - 1]

    def nvmlInitWithFlags(self, _flags: int) -> int:  # noqa: N802
        self.open += 1
        return OK

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return OK

    def nvmlErrorString(self, code: int) -> bytes:  # noqa: N802
        return f"error {code}".encode()

    def nvmlSystemGetDriverVersion(self, buffer: Any, _size: Any) -> int:  # noqa: N802
        buffer.value = self.driver
        return OK

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:  # noqa: N802
        gpu = self.gpus[index.value]
        if gpu.lost:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        set_handle(device, self.handle(gpu))
        return OK

    def nvmlDeviceGetName(self, handle: Any, buffer: Any, _size: Any) -> int:  # noqa: N802
        buffer.value = self.gpu(handle).name
        return OK

    def nvmlDeviceGetUUID(self, handle: Any, buffer: Any, _size: Any) -> int:  # noqa: N802
        buffer.value = f"GPU-{self.gpus.index(self.gpu(handle)):04}".encode()
        return OK

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: N802
        gpu = self.gpu(handle)
        if gpu.memory_bytes is None:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        memory._obj.total = memory._obj.free = gpu.memory_bytes
        return OK

    def nvmlDeviceGetMigMode(self, handle: Any, now: Any, _next: Any) -> int:  # noqa: N802
        gpu = self.gpu(handle)
        if gpu.slices is None:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        now._obj.value = 1
        return OK

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpu(handle).slices or [])
        return OK

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, device: Any) -> int:  # noqa: N802
        found = (self.gpu(handle).slices or [])[index.value]
        if found is None:
            return int(pynvml.NVML_ERROR_NOT_FOUND)
        set_handle(device, self.handle(found))
        return OK


def set_handle(device: Any, number: int) -> None:
    """Write a handle to where ctypes' `byref` points: handles are pointers to what only the library knows."""
    ctypes.cast(device, ctypes.POINTER(ctypes.c_size_t))[0] = number


def number_of(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
