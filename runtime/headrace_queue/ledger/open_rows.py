"""Which requests have no row yet, so that each gets exactly one, whoever tells of its end and however often."""

from headrace_queue.exchange import Exchange
from headrace_queue.ledger.bookkeeper import Bookkeeper, Told
from headrace_queue.ledger.writer import Committed


class OpenRows:
    """The requests that are here and not written down yet."""

    def __init__(self, books: Bookkeeper) -> None:
        self.exchanges: dict[str, Exchange] = {}
        """By their requests' ids."""
        self._books = books
        self._late: dict[str, list[tuple[Told, Committed | None, int]]] = {}
        """Told of requests that waited for another attempt, and how many there had been."""

    def open(self, exchange: Exchange) -> None:
        """A request was taken in."""
        self.exchanges[exchange.call.request_id] = exchange

    def book(self, exchange: Exchange) -> None:
        """Write its row: it has ended, and no worker has it any more."""
        if self.exchanges.pop(exchange.call.request_id, None):
            late = self._late.pop(exchange.call.request_id, [])
            exchange.acks += [committed for _, committed, attempt in late if committed and attempt < exchange.attempts]
            self._books.close(exchange)
            for told, committed, attempt in late:
                if attempt >= exchange.attempts:
                    self._books.told(told, committed)

    def told_again(self, told: Told, committed: Committed | None) -> None:
        """A worker tells of an end that is no job's of its connection; `committed` is called once there is a row."""
        exchange = self.exchanges.get(told.request_id)
        if exchange is None:
            self._books.told(told, committed)
        elif exchange.job is None:  # there may be no other attempt
            self._late.setdefault(told.request_id, []).append((told, committed, exchange.attempts))
        else:  # another attempt is under way: the row will be that one's
            exchange.acks += [committed] if committed else []
