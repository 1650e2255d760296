"""The termination message: why the engine ended, for Kubernetes and whoever reads the pod's status."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_LIMIT_BYTES = 4096
"""What the kubelet reads of `/dev/termination-log`."""
_ERRORS = 6
_LONGEST_ERROR = 500
_MORE_LINES = 2
"""Lines after the first that belong to an error: pydantic's, and Hugging Face's, say in the second what is wrong."""

_PREFIX = re.compile(r"^\(\w+ pid=\d+\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
"""What vLLM's processes put before each line."""
_PASSING = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:DEBUG|INFO|WARNING) |Warning: |^[\d.]+ [DIW] ")
"""A line that is no error, whatever it mentions: vLLM's and Python's warnings, llama.cpp's lines below E."""
_ERROR = re.compile(
    r"\b\w*(?:Error|Exception): \S.*"  # Python
    r"|(?<=: )error: \S.*"  # a refused command line
    r"|(?:(?<= E )|(?<=\[ERROR\] )|(?<=\[E\] ))\S.*"  # llama.cpp, TensorRT-LLM
)
_FRAME = re.compile(r"^(?: *Traceback| *File \"|   |During handling|The above|\s*$)")


def message(what: str, lines: Sequence[str]) -> bytes:
    """At most 4096 bytes: what happened, the first errors that the engine named, then as many last lines as fit.

    A Python engine prints its root cause first and a page of tracebacks after it, and llama.cpp's cause drowns in what
    follows it, so the last lines alone often say nothing.
    """
    head = "\n".join([what, *errors(lines), "last lines:", ""]).encode()[:_LIMIT_BYTES]
    return head + _tail(lines, _LIMIT_BYTES - len(head))


def write(path: Path, what: str, lines: Sequence[str]) -> None:
    """Write the message where the kubelet reads it; where that cannot be written, the log has it all the same."""
    with contextlib.suppress(OSError):
        path.write_bytes(message(what, lines))


def errors(lines: Sequence[str]) -> list[str]:
    """The first errors that an engine named, each once."""
    return list(dict.fromkeys(_errors(lines)))[:_ERRORS]


def _errors(lines: Sequence[str]) -> Iterator[str]:
    """Each error with the lines that go on with it."""
    for index, line in enumerate(lines):
        if (found := _ERROR.search(line)) and not _PASSING.search(line):
            yield "\n".join([found[0], *_more(lines[index + 1 : index + 1 + _MORE_LINES])])[:_LONGEST_ERROR]


def _more(lines: Sequence[str]) -> Iterator[str]:
    for line in (_PREFIX.sub("", line) for line in lines):
        if _FRAME.search(line) or _ERROR.search(line) or _PASSING.search(line) or re.match(r"[\d.]+ E ", line):
            return
        yield line.strip()


def _tail(lines: Sequence[str], room: int) -> bytes:
    """As many whole lines as fit, from the end; of a last line that does not fit, its end."""
    text = "\n".join(lines).encode()
    if len(text) <= room:
        return text
    cut = text[len(text) - room :] if room else b""
    return cut.partition(b"\n")[2] or cut
