"""What OpenCL says of this machine, asked in a process of its own: `python -I -S opencl.py` prints it as JSON.

OpenCL loads every vendor's driver into the process that asks (its loader's `clGetPlatformIDs` does), and a broken one
may crash or hang it: not the worker. The numbers are those of Khronos' `CL/cl.h`. It imports little, so that it starts
in milliseconds.
"""

import ctypes
import json
import sys
from typing import Any

LIBRARY = "libOpenCL.so.1"
"""Khronos' loader; machines without OpenCL do not have it."""

GPU = 1 << 2 | 1 << 3
"""CL_DEVICE_TYPE_GPU and CL_DEVICE_TYPE_ACCELERATOR."""

_ALL = 0xFFFFFFFF
_TYPE, _MEMORY_BYTES, _NAME, _DRIVER = 0x1000, 0x101F, 0x102B, 0x102D
_MB = 2**20


class _RefusedError(RuntimeError):
    """OpenCL answered with an error."""


def present() -> bool:
    """Whether there is a loader, which loads no driver yet."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def devices(kinds: int) -> dict[str, Any]:
    """The driver's version, of the first device of any kind, and the devices of `kinds`: name and memory in MB.

    Raises:
        OSError: there is no OpenCL.
    """
    library = ctypes.CDLL(LIBRARY)
    found = [device for platform in _handles(library.clGetPlatformIDs) for device in _of(library, platform)]
    gpus = [
        {"name": _text(library, device, _NAME), "memory": _number(library, device, _MEMORY_BYTES) // _MB}
        for device in found
        if _number(library, device, _TYPE) & kinds
    ]
    return {"driver": _text(library, found[0], _DRIVER) if found else None, "gpus": gpus}


def _of(library: ctypes.CDLL, platform: ctypes.c_void_p) -> list[ctypes.c_void_p]:
    return _handles(library.clGetDeviceIDs, platform, ctypes.c_uint64(_ALL))


def _handles(ask: Any, *arguments: Any) -> list[ctypes.c_void_p]:
    """A list in OpenCL's way: asked for its length first. "None found" is an error there, and no news here."""
    count = ctypes.c_uint32()
    if ask(*arguments, 0, None, ctypes.byref(count)) or not count.value:
        return []
    handles = (ctypes.c_void_p * count.value)()
    if ask(*arguments, count.value, handles, None):
        return []
    return [ctypes.c_void_p(handle) for handle in handles]


def _info(library: ctypes.CDLL, device: ctypes.c_void_p, what: int) -> bytes:
    size = ctypes.c_size_t()
    code = library.clGetDeviceInfo(device, what, ctypes.c_size_t(0), None, ctypes.byref(size))
    value = ctypes.create_string_buffer(size.value)
    code = code or library.clGetDeviceInfo(device, what, size, value, None)
    if code:
        raise _RefusedError(f"clGetDeviceInfo({what:#x}): error {code}")
    return value.raw


def _text(library: ctypes.CDLL, device: ctypes.c_void_p, what: int) -> str:
    return _info(library, device, what).rstrip(b"\0").decode(errors="replace").strip()


def _number(library: ctypes.CDLL, device: ctypes.c_void_p, what: int) -> int:
    return int.from_bytes(_info(library, device, what), sys.byteorder)


def main() -> None:
    """Print what there is."""
    sys.stdout.write(json.dumps(devices(GPU)))


if __name__ == "__main__":
    main()
