"""The first of many things whose ranks change: a heap that old places stay in until they come up.

Every operation is O(log n) on average. `heapq` does the work in C; a balanced tree in Python is several times as slow.
"""

import heapq
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T", bound=Hashable)
_SLACK = 32
"""Old places that a heap may hold beside twice as many as are current."""


class Ranking(Generic[_T]):
    """Things by rank, the least first; of equal ranks the one that was ranked first."""

    __slots__ = ("_count", "_heap", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[Any, int, _T]] = []
        self._places: dict[_T, tuple[Any, int, _T]] = {}
        self._count = 0

    def put(self, item: _T, rank: Any) -> None:
        """Let it have this rank from now on; ranks are numbers, or tuples of them."""
        self._count = count = self._count + 1
        self._places[item] = place = (rank, count, item)
        heap = self._heap
        heapq.heappush(heap, place)
        if len(heap) > 2 * len(self._places) + _SLACK:
            self._heap = list(self._places.values())
            heapq.heapify(self._heap)

    def drop(self, item: _T) -> None:
        """Forget it, if it is there."""
        self._places.pop(item, None)

    def first(self) -> _T | None:
        """The one with the least rank; None if there is nothing."""
        heap, places = self._heap, self._places
        while heap:
            place = heap[0]
            current = places.get(place[2])
            if current is not None and current[1] == place[1]:
                return place[2]
            heapq.heappop(heap)
        return None

    def first_but(self, skip: Callable[[_T], bool]) -> _T | None:
        """The first that is not to be skipped; O(log n) for each that is."""
        aside = []
        while (item := self.first()) is not None and skip(item):
            aside.append(heapq.heappop(self._heap))
        for place in aside:
            heapq.heappush(self._heap, place)
        return item

    def rank(self, item: _T) -> Any:
        """Its rank.

        Raises:
            KeyError: it is not there.
        """
        return self._places[item][0]

    def in_order(self) -> Iterator[_T]:
        """All of them, the first first; O(n log n)."""
        return (place[2] for place in sorted(self._places.values(), key=lambda place: place[:2]))

    def __contains__(self, item: _T) -> bool:
        return item in self._places

    def __len__(self) -> int:
        return len(self._places)


def first(ranking: Ranking[_T]) -> _T:
    """The one with the least rank.

    Raises:
        LookupError: there is nothing in it.
    """
    item = ranking.first()
    if item is None:
        raise LookupError("an empty ranking has no first")
    return item
