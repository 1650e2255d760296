"""What NVIDIA's driver says of its GPUs."""

import contextlib
from collections.abc import Iterator

import pynvml
import structlog

from headrace_api.wire import Gpu

_MB = 2**20
_ABSENT = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
"""No NVIDIA driver, or one that found no GPU: nothing is wrong."""

log = structlog.get_logger()


def ask() -> tuple[str | None, tuple[Gpu, ...]]:
    """The driver's version, None where there is none or none that works, and its GPUs; memory in MB (2**20 bytes)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value not in _ABSENT:
            log.warning("the NVIDIA driver does not work", error=str(error))
        return None, ()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return driver, tuple(gpu for index in range(pynvml.nvmlDeviceGetCount()) for gpu in _gpus(index))
    except (pynvml.NVMLError, UnicodeDecodeError) as error:
        log.warning("the NVIDIA driver does not work", error=str(error))
        return None, ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


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
