"""Whether a driver's library is on this machine: asked before its Python bindings are loaded, which takes longer."""

import ctypes

NVML = "libnvidia-ml.so.1"
"""NVIDIA's; its bindings, `pynvml`, load for a tenth of a second."""


def is_there(library: str) -> bool:
    """Whether the system's loader finds it."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
