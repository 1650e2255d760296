"""Numbers that no float holds: `1e999` is JSON, but it is read as infinite, which no JSON can say to an engine."""

import math
from typing import Any

MARK = b"Infinity"
"""How they are written; a text may have the word, too."""


def problem(value: Any, field: str = "") -> str | None:
    """What is wrong with the first of them in a request, in words; None where all are finite."""
    if isinstance(value, float) and math.isinf(value):
        return f"{field}: the number is too large; accepted: numbers up to 1.7976931348623157e308 in size"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = (problem(inner, f"{field}.{name}" if field else str(name)) for name, inner in items)
    return next((each for each in found if each), None)
