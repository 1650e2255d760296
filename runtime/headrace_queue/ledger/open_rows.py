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
        self._late: dict[str, list[tuple[Told, Committed | None]]] = {}
        """Told of them over other connections than those that their jobs came over."""

    def open(self, exchange: Exchange) -> None:
        """A request was taken in."""
        self.exchanges[exchange.call.request_id] = exchange

    def book(self, exchange: Exchange) -> None:
        """Write its row: it has ended, and no worker has it any more."""
        if self.exchanges.pop(exchange.call.request_id, None):
            late = self._late.pop(exchange.call.request_id, [])
            of_last = [each for each in late if each[0].job == exchange.last_job]
            exchange.acks += [committed for told, committed in late if committed and told.job != exchange.last_job]
            self._books.close(exchange)
            exchange.book()
            for told, committed in of_last:
                self._books.told(told, committed)

    def streamed(self) -> dict[str, int]:
        """About how many tokens their streams have given so far, by the metrics' label of the model."""
        found: dict[str, int] = {}
        for exchange in self.exchanges.values():
            if exchange.streamed:
                found[exchange.label] = found.get(exchange.label, 0) + exchange.streamed
        return found

    def told_again(self, told: Told, committed: Committed | None) -> None:
        """A worker tells of an end that is no job's of its connection; `committed` is called once there is a row."""
        exchange = self.exchanges.get(told.request_id)
        if exchange is None:
            self._books.told(told, committed)
        else:  # the row will be that of its last job, which this may be about
            self._late.setdefault(told.request_id, []).append((told, committed))
