"""Which GGUF file is meant, where a folder or repository holds several quantizations of a model.

`TheBloke/CoolModelv2:Q4_K_M` names one by its quantization, as llama.cpp and Ollama write it; a file's name will do.
A large file may be split: `model-00001-of-00003.gguf` and so on. llama.cpp loads the first and finds the others.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_NAMED = re.compile(r"(?P<source>.+[^:/]):(?P<quant>[A-Za-z0-9][A-Za-z0-9_.-]*)")
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|FP?(?:16|32)|(?:MX|NV)FP4(?:_MOE)?))(?=$|[-./])",
    re.IGNORECASE,
)
"""A quantization in a path, as people write it: `UD-` is Unsloth's mark of their own mixtures."""
_NO_MODEL = re.compile(r"(?:^|[-._])(?:mmproj|imatrix)(?:[-._]|$)|^(?:mtp|eagle3|dflash|dspark)-|-(?:lora|vocab)$")
"""Names of what accompanies a model: its eyes, what it was quantized by, a draft for it, an adapter, a vocabulary. A
draft's mark within a name (`model-mtp`) is of a model that holds its draft."""
_SPLIT_BY_HAND = re.compile(r"\.gguf[-.](?:split-?|part)_?[0-9a-z]+(?:of\d+)?$")
"""Parts that have to be joined before llama.cpp reads them."""
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
        names: paths within the folder or repository, with `/`; those that are no GGUF are passed over, and so is what
            only accompanies a model.
        quant: the quantization that is wanted, in any case, or the name of the file (of the first, of parts); None
            where there is one model only.

    Raises:
        GgufError: there is no such file, more than one, or a part of it is missing.
    """
    names = list(names)
    models = _models(names)
    fitting = models if quant is None else _fitting(models, quant)
    if len(fitting) != 1:
        raise GgufError(_message(models, fitting, quant) + _joinable(names))
    ((stem, parts),) = fitting.items()
    missing = _missing(parts)
    if missing:
        raise GgufError(f"{stem!r} is in {missing[1]} parts, of which number {missing[0]} is missing")
    return tuple(parts)


def _models(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        part = _PART.fullmatch(name)
        stem = part["stem"] if part else name[: -len(".gguf")]
        if name.lower().endswith(".gguf") and not _NO_MODEL.search(stem.rpartition("/")[2].lower()):
            found[stem].append(name)
    return dict(found)


def _fitting(models: dict[str, list[str]], quant: str) -> dict[str, list[str]]:
    """The models of that file name, else those quantized exactly so, else those that have the word in their path."""
    for fits in (_is_file, _is_quantized, _has):
        if found := {stem: parts for stem, parts in models.items() if fits(stem, parts[0], quant)}:
            return found
    return {}


def _is_file(_stem: str, first: str, quant: str) -> bool:
    return quant.lower() in {first.lower(), first.rpartition("/")[2].lower()}


def _is_quantized(stem: str, _first: str, quant: str) -> bool:
    return _normal(quant) in {_normal(label) for label in _QUANT.findall(stem)}


def _has(stem: str, _first: str, quant: str) -> bool:
    return re.search(rf"(?:^|[-./]){re.escape(quant)}(?:$|[-./])", stem, re.IGNORECASE) is not None


def _normal(label: str) -> str:
    """In capitals; FP16 and F16 are the same."""
    return re.sub(r"^FP(?=16|32)", "F", label.upper())


def _missing(parts: list[str]) -> tuple[int, int] | None:
    """The first missing number, and how many there should be; a file that is no part misses nothing."""
    found = [part for name in parts if (part := _PART.fullmatch(name))]
    count = max((int(part["count"]) for part in found), default=0)
    there = {int(part["number"]) for part in found}
    return next(((number, count) for number in range(1, count + 1) if number not in there), None)


def _message(models: dict[str, list[str]], fitting: dict[str, list[str]], quant: str | None) -> str:
    if not models:
        return "there is no .gguf file"
    quants = sorted({label.upper() for stem in models for label in _QUANT.findall(stem)[-1:]})
    accepted = f"; quantizations: {', '.join(quants)}" if quants else ""
    if not fitting:
        return f"no .gguf file is quantized as {quant!r}; there are: {_listed(models)}{accepted}"
    how = "add the quantization, as in name:Q4_K_M, or name the file" if quant is None else "name the file"
    return f"several .gguf files fit: {_listed(fitting)}{accepted}; {how}"


def _joinable(names: list[str]) -> str:
    """What to say of parts that llama.cpp does not read."""
    found = next((name for name in sorted(names) if _SPLIT_BY_HAND.search(name.lower())), None)
    return f"; parts like {found!r} are not read: join them, as their repository says" if found else ""


def _listed(models: dict[str, list[str]]) -> str:
    names = [parts[0] for parts in models.values()]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join(names[:_MOST_NAMES] + more)
