"""How much memory a model needs, as far as its name tells: workers of the seed's protocol load what they are sent.

Names say how many parameters there are (`7B`, `8x7b`) and, if they are quantized, in how many bits (`Q4_K_M`, `AWQ`).
"""

import re

_PARAMETERS = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)
_BITS = (
    (re.compile(r"(?<![a-z0-9])i?q([1-8])(?![0-9])", re.IGNORECASE), None),
    (re.compile(r"(?<![0-9])([1-8])-?bits?(?![a-z])", re.IGNORECASE), None),
    (re.compile(r"(?<![a-z])(?:int|fp|w)([48])(?![0-9])", re.IGNORECASE), None),
    (re.compile(r"(?<![a-z])(?:awq|gptq|gguf)(?![a-z])", re.IGNORECASE), 4.0),
    (re.compile(r"(?<![a-z])(?:fp32|f32)(?![0-9])", re.IGNORECASE), 32.0),
)
_USUAL_BITS = 16.0
_OVERHEAD = 1.2
"""For the cache and the engine itself."""


def needed_mb(model: str) -> int | None:
    """MB that the model takes with a small cache; None if its name does not tell."""
    found = _PARAMETERS.search(model)
    if found is None:
        return None
    billions = float(found[2]) * int(found[1] or 1)
    return round(billions * 1000 * _bits(model) / 8 * _OVERHEAD)


def _bits(model: str) -> float:
    for pattern, bits in _BITS:
        if found := pattern.search(model):
            return float(found[1]) if bits is None else bits
    return _USUAL_BITS
