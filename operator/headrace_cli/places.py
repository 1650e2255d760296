"""Where a file of another system says what a field of the imported spec says."""

from typing import Any

from pydantic.alias_generators import to_camel

from headrace_api.convert.places import Places

Path = tuple[str | int, ...]


def original(field: Path, places: Places, data: Any) -> Path:
    """The path in a file's `data` of what a finding's field, which begins with `spec`, was made of.

    Of several keys that may have said it, the one that is there; what is not there at all has its nearest parent.
    """
    spec = field[1:]
    known = [(theirs.split("."), tuple(to_camel(name) for name in ours.split("."))) for theirs, ours in places]
    found = [_existing((*keys, *spec[len(names) :]), data) for keys, names in known if spec[: len(names)] == names]
    if found:
        return max(found, key=len)
    # no place of its own: the parent of those that begin with the same names
    shared = max((_shared(names, spec) for _, names in known), default=0)
    beside = [keys[: -(len(names) - shared)] for keys, names in known if shared and _shared(names, spec) == shared]
    return min((_existing(tuple(keys), data) for keys in beside), key=len, default=())


def _shared(names: Path, spec: Path) -> int:
    """How many names are the same from the beginning."""
    pairs = enumerate(zip(names, spec, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(names), len(spec)))


def _existing(path: Path, data: Any) -> Path:
    """The part of a path that is there, with the file's own spelling of the spec's names."""
    taken: list[str | int] = []
    for part in path:
        if isinstance(data, dict):
            key: Any = next((key for key in (part, *data) if key in data and part in {key, to_camel(key)}), None)
        else:
            key = part if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
        if key is None:
            break
        taken.append(key)
        data = data[key]
    return tuple(taken)
