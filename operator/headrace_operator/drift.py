"""Whether a live object still says everything that was rendered."""

from decimal import Decimal, InvalidOperation
from typing import Any

_QUANTITY_FIELDS = frozenset({"limits", "requests", "sizeLimit"})
"""Fields whose values the API server rewrites (1024Mi becomes 1Gi) without changing what they mean."""


def differs(rendered: Any, live: Any, field: str = "") -> bool:
    """Whether `live` lacks or contradicts anything in `rendered`; what others added to `live` does not count.

    Maps compare by the rendered keys, lists by position and length: the lists that are rendered (containers, ports,
    environment) are ordered, and an element that somebody appended by hand is a difference.
    """
    if isinstance(rendered, dict):
        if not isinstance(live, dict):
            return bool(rendered) or live is not None
        inner = field if field in _QUANTITY_FIELDS else ""
        return any(differs(value, live.get(key), inner or key) for key, value in rendered.items())
    if isinstance(rendered, list):
        if not isinstance(live, list) or len(live) != len(rendered):
            return bool(rendered) or bool(live)
        return any(differs(one, other) for one, other in zip(rendered, live, strict=True))
    if field in _QUANTITY_FIELDS and live is not None:
        return _quantity(rendered) != _quantity(live)
    return bool(rendered != live)


_SUFFIXES: dict[str, Decimal] = {
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    "m": Decimal("0.001"),
}
"""Kubernetes' suffixes of quantities."""


def _quantity(value: Any) -> Decimal | str:
    text = str(value)
    suffix = next((unit for unit in _SUFFIXES if text.endswith(unit)), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation:
        return text
