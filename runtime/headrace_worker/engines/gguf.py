"""Which GGUF file is meant, where a folder or repository holds several quantizations of a model.

`TheBloke/CoolModelv2:Q4_K_M` names one by its quantization, as llama.cpp and others write it. A large file may be
split: `model-00001-of-00003.gguf` and so on; llama.cpp loads the first and finds the others beside it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_NAMED = re.compile(r"(?P<source>.+[^:/]):(?P<quant>[A-Za-z0-9][A-Za-z0-9_.-]*)")
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|B?F16|F32|MXFP4(?:_MOE)?))(?=$|[-./])", re.IGNORECASE
)
_MOST_NAMES = 20


class GgufError(ValueError):
    """No single model among the files; the message says what there is."""


def split_name(source: str) -> tuple[str, str | None]:
    """A source without its quantization, and that: `("TheBloke/CoolModelv2", "Q4_K_M")`; not for URLs."""
    found = None if "://" in source else _NAMED.fullmatch(source)
    return (found["source"], found["quant"]) if found else (source, None)


def choose_files(names: Iterable[str], quant: str | None) -> tuple[str, ...]:
    """The file of a model, or all of its parts in order; what to load is the first.

    Args:
        names: paths within the folder or repository, with `/`; those that are no GGUF are passed over, and so are
            `mmproj` files, which are the eyes of a model and not the model.
        quant: the quantization that is wanted, in any case; None where there is one model only.

    Raises:
        GgufError: there is no such file, more than one, or a part of it is missing.
    """
    models = _models(names)
    fitting = {stem: parts for stem, parts in models.items() if quant is None or _has(stem, quant)}
    if len(fitting) != 1:
        raise GgufError(_message(models, fitting, quant))
    ((stem, parts),) = fitting.items()
    missing = _missing(parts)
    if missing:
        raise GgufError(f"{stem!r} is in {missing[1]} parts, of which number {missing[0]} is missing")
    return tuple(parts)


def _models(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        if not name.lower().endswith(".gguf") or name.rpartition("/")[2].lower().startswith("mmproj"):
            continue
        part = _PART.fullmatch(name)
        found[part["stem"] if part else name[: -len(".gguf")]].append(name)
    return dict(found)


def _has(stem: str, quant: str) -> bool:
    return re.search(rf"(?:^|[-._/]){re.escape(quant)}(?:$|[-./])", stem, re.IGNORECASE) is not None


def _missing(parts: list[str]) -> tuple[int, int] | None:
    """The first missing number, and how many there should be; a file that is no part misses nothing."""
    found = [part for name in parts if (part := _PART.fullmatch(name))]
    count = max((int(part["count"]) for part in found), default=0)
    there = {int(part["number"]) for part in found}
    return next(((number, count) for number in range(1, count + 1) if number not in there), None)


def _message(models: dict[str, list[str]], fitting: dict[str, list[str]], quant: str | None) -> str:
    if not models:
        return "there is no .gguf file"
    quants = sorted({found[1].upper() for stem in models if (found := _QUANT.search(stem))})
    accepted = f"; quantizations: {', '.join(quants)}" if quants else ""
    if not fitting:
        return f"no .gguf file is quantized as {quant!r}; there are: {_listed(models)}{accepted}"
    how = "add the quantization, as in name:Q4_K_M, or name the file" if quant is None else "name the file"
    return f"several .gguf files fit: {_listed(fitting)}{accepted}; {how}"


def _listed(models: dict[str, list[str]]) -> str:
    names = [parts[0] for parts in models.values()]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join(names[:_MOST_NAMES] + more)
