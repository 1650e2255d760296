"""Whether a live object still says everything that was rendered, and what it says beside that in rendered lists."""

from collections.abc import Iterator
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


def surplus(rendered: Any, live: Any, path: str = "") -> Iterator[str]:
    """JSON pointers of the items that somebody added to lists that are rendered, in an order in which they can go.

    Server-side apply leaves another manager's items where they are. A list in which one of the rendered items is not
    found (the API server may store other words for it) is left alone: it could be the one that goes.
    """
    if isinstance(rendered, dict) and isinstance(live, dict):
        for key, value in rendered.items():
            yield from surplus(value, live.get(key), f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(rendered, list) and isinstance(live, list) and (found := _places(rendered, live)) is not None:
        for place in reversed(range(len(live))):
            if place in found:
                yield from surplus(found[place], live[place], f"{path}/{place}")
            else:
                yield f"{path}/{place}"


def _places(rendered: list[Any], live: list[Any]) -> dict[int, Any] | None:
    """The rendered items by the places at which they are; None when not all of them are there."""
    found: dict[int, Any] = {}
    for one in rendered:
        places = (place for place, other in enumerate(live) if place not in found and _is_same(one, other))
        if (place := next(places, None)) is None:
            return None
        found[place] = one
    return found


def _is_same(rendered: Any, live: Any) -> bool:
    """Whether `live` is this item, whatever has been added inside: by its plain values."""
    if not isinstance(rendered, dict):
        return not differs(rendered, live)
    return not differs({key: value for key, value in rendered.items() if not isinstance(value, dict | list)}, live)


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
