"""The keys file: a YAML or JSON document, usually mounted from a Secret, read again when it changes."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from headrace_api.keys import KeyFile
from headrace_queue.invalid import in_words


def read(path: Path) -> KeyFile:
    """What the file says; a file with nothing in it has no keys.

    Raises:
        ValueError: it cannot be read, or is not accepted; the message names the field, and never a secret.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the keys file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"the keys file {path} is no YAML or JSON{where}") from None
    try:
        return KeyFile.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ValueError(f"the keys file {path} is not accepted: {in_words(error)}") from None


class Watched:
    """A file that is looked at again and again; the kubelet replaces a mounted one by a link to another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether it is another one than the last time."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
