"""How a command ends when it cannot do what it was asked for."""

from dataclasses import dataclass

FAILED = 1
"""The files were read, and something in them is wrong (`diff`: something differs)."""
TROUBLE = 2
"""A file cannot be read, an option is wrong, or the cluster does not answer."""


@dataclass
class Trouble(Exception):  # noqa: N818
    """The command ends with `message` on stderr and exit status `status`."""

    message: str
    status: int = TROUBLE

    def __str__(self) -> str:
        return self.message
