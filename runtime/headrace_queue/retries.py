"""Whether a request that a worker has failed goes on with another one, and what its client is told where it does not.

A request begins anew as long as its client has seen nothing; after that only the rest of a stream can be had, and only
where what the client has got is known.
"""

from typing import Any

from headrace_queue import errors
from headrace_queue.continuation import Over
from headrace_queue.exchange import End, Exchange

_BROKEN = (502, 503)
"""After a part of the answer: the engine, or its worker, did not finish."""


def can_move(exchange: Exchange, end: End, max_attempts: int) -> bool:
    """Whether a stream that its worker has broken off may be had from another one."""
    if not (end.status in _BROKEN and exchange.call.stream and exchange.begun):
        return False
    if exchange.has_all or exchange.strikes + 1 >= max_attempts:
        return False
    return not exchange.sent or bool(exchange.go_on())


def ending(exchange: Exchange, max_attempts: int, *, dismissing: bool) -> End | None:
    """The end of an exchange after a worker failed it; None where the next worker is to have it.

    Afterwards its call is what the next worker is asked for. `dismissing`: no worker gets anything any more.
    """
    if exchange.has_all:
        return End(200, usage=exchange.given())  # only its worker's word is missing
    spent = dismissing or exchange.strikes >= max_attempts
    goes_on = not exchange.sent or exchange.go_on()
    if isinstance(goes_on, Over):
        exchange.put_last(goes_on.data)
        return End(200, usage=exchange.given())
    if exchange.sent and (spent or not goes_on):
        return broken_off(exchange)
    if dismissing:
        return End.failed(errors.draining())
    return End.failed(errors.too_many_attempts(exchange.attempts)) if spent else None


def told(exchange: Exchange, end: End) -> End:
    """What a client is told, given its last worker's end: of a stream that broke off, also how much there was of it."""
    if end.status == 200 or not (exchange.call.stream and exchange.sent):
        return end
    return _counted(exchange, end.status, end.body or errors.worker_lost().body())


def broken_off(exchange: Exchange) -> End:
    """The end of a stream whose worker was lost and that nobody can continue; tells what the client has got."""
    error = errors.worker_lost()
    return _counted(exchange, error.status, error.body())


def _counted(exchange: Exchange, status: int, body: dict[str, Any]) -> End:
    usage = exchange.given()
    said = {} if usage is None else {"usage": {"completion_tokens": usage.completion_tokens}}
    return End(status, {**body, **said}, usage)
