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

    def open(self, exchange: Exchange) -> None:
        """A request was taken in."""
        self.exchanges[exchange.call.request_id] = exchange

    def book(self, exchange: Exchange) -> None:
        """Write its row: it has ended, and no worker has it any more."""
        if self.exchanges.pop(exchange.call.request_id, None):
            self._books.close(exchange)
            exchange.book()

    def told_again(self, told: Told, committed: Committed | None) -> None:
        """A worker tells of an end that is no job's of its connection; `committed` is called once there is a row."""
        exchange = self.exchanges.get(told.request_id)
        if exchange is None:
            self._books.told(told, committed)
        else:  # another attempt is under way: the row will be that one's
            exchange.acks += [committed] if committed else []
