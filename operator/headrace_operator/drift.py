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
    if live is None and not rendered:
        return False  # the API server leaves out empty and zero values
    if isinstance(rendered, dict):
        return _map_differs(rendered, live, field)
    if isinstance(rendered, list):
        same_length = isinstance(live, list) and len(live) == len(rendered)
        return not same_length or any(differs(one, other) for one, other in zip(rendered, live, strict=True))
    if field in _QUANTITY_FIELDS:
        return _quantity(rendered) != _quantity(live)
    return bool(rendered != live)


def _map_differs(rendered: dict[str, Any], live: Any, field: str) -> bool:
    if not isinstance(live, dict):
        return True
    inner = field if field in _QUANTITY_FIELDS else ""
    return any(differs(value, live.get(key), inner or key) for key, value in rendered.items())


_SUFFIXES: dict[str, Decimal] = {
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
}
"""Kubernetes' suffixes of quantities."""


def _quantity(value: Any) -> Decimal | str:
    text = str(value)
    suffix = next((unit for unit in _SUFFIXES if text.endswith(unit)), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation:
        return text
