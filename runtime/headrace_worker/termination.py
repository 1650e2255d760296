"""The termination message: why the engine ended, for Kubernetes and whoever reads the pod's status."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

_LIMIT_BYTES = 4096
"""What the kubelet reads of `/dev/termination-log`."""
_ERROR = re.compile(r"\b\w*(?:Error|Exception): \S.*")
_ERRORS = 5


def message(what: str, lines: Sequence[str]) -> bytes:
    """At most 4096 bytes: what happened, the first errors that the engine named, then as many last lines as fit.

    A Python engine prints its root cause first and a page of tracebacks after it, so the last lines alone often say
    nothing.
    """
    errors = list(dict.fromkeys(found[0] for line in lines if (found := _ERROR.search(line))))[:_ERRORS]
    head = "\n".join([what, *errors, "last lines:", ""]).encode()[:_LIMIT_BYTES]
    room = _LIMIT_BYTES - len(head)
    return head + ("\n".join(lines).encode()[-room:] if room else b"")


def write(path: Path, what: str, lines: Sequence[str]) -> None:
    """Write the message where the kubelet reads it; where that cannot be written, the log has it all the same."""
    with contextlib.suppress(OSError):
        path.write_bytes(message(what, lines))
