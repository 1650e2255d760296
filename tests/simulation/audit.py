"""What must be true after every step, of every frame, and at the end of a run."""

from typing import TYPE_CHECKING, Any

from aiohttp import WSMessage, WSMsgType
from pydantic_core import from_json

from headrace_api.wire import MOST_CREDITS
from headrace_queue.ledger.entry import ESTIMATED, UNCOUNTED, UNSIGNED, Entry
from tests.simulation import books
from tests.simulation.database import Database
from tests.simulation.network import Connection
from tests.simulation.queue_actor import QueueActor
from tests.simulation.words import Words

if TYPE_CHECKING:
    from tests.simulation.world import World


def step(world: "World") -> None:
    """The queue's own books agree with each other, and nothing is larger than it may be."""
    queue = world.queue
    if queue is None:
        return
    dispatcher, schedule = queue.dispatcher, queue.schedule
    held = held_bytes = at_work = 0
    for exchange in dispatcher._exchanges.values():  # one pass: this is after every step
        assert not exchange.over
        assert exchange._size == sum(map(len, exchange._pieces)) <= world.plan.limits.client_buffer_bytes, "buffer"
        at_work += exchange.job is not None
        if exchange.held:
            held += 1
            held_bytes += len(exchange.call.raw)
    assert held == schedule.waiting, f"{held} are held, {schedule.waiting} wait"
    assert dispatcher.waiting_room.room.bytes == held_bytes, "waiting bytes"
    assert at_work == schedule.running, f"{at_work} are with workers, {schedule.running} run"
    for number, worker in schedule.workers.items():
        assert worker.credits >= 0, f"worker {number} has {worker.credits} credits"
    assert schedule.workers.keys() == dispatcher._seats.keys()
    assert not queue.unfair, queue.unfair[0]
    assert not world.keys.wrong, world.keys.wrong[0]
    if world.loop.idle:
        if not (dispatcher._exchanges or dispatcher._open or dispatcher._jobs):
            _reservations_are_given_back(queue)
        if schedule.waiting:
            _nothing_lies_about(queue)
        _credits_agree(world, queue)


def _nothing_lies_about(queue: QueueActor) -> None:
    for ticket, worker in queue.schedule.decide():
        raise AssertionError(f"ticket {ticket} waits while worker {worker} is free")


def _reservations_are_given_back(queue: QueueActor) -> None:
    """Where nothing is under way, nothing of a limit is reserved."""
    for key, meter in queue.access.meters().items():
        for gauge in meter.gauges:
            assert not gauge.reserved, (
                f"{gauge.reserved} of {key}'s {gauge.kind} are reserved, and nothing is under way"
            )


def _credits_agree(world: "World", queue: QueueActor) -> None:
    """Where nothing is on its way, both ends of a connection count the same credits."""
    ends = {seat.link._outbox._socket: number for number, seat in queue.dispatcher._seats.items()}
    for worker in world.workers.values():
        session, connection = worker.session, worker.connection
        if session is None or connection is None or session.draining or not connection.quiet or connection.over:
            continue
        number = ends.get(connection.queue_end)
        if session._out._messages:  # unsent: frames keep some distance
            continue
        if number is None or not session.registered.is_set() or queue.dispatcher._dismissing:
            continue
        theirs = queue.schedule.workers[number]
        if not theirs.draining:
            assert not session._jobs.seat.recalled, f"{worker.process.name}: a recall has no answer"
            assert theirs.credits == session._jobs.seat.credits, (
                f"{worker.process.name}: {session._jobs.seat.credits} credits, the queue has {theirs.credits}"
            )


def frame(database: Database, words: Words, connection: Connection, what: str, frame: WSMessage) -> None:
    """The queue never sends a job without a credit, and never acknowledges what has no row."""
    for message in said(frame):
        words.note(connection, what, message)
        match what, message.get("type"):
            case "queue gets", "credit" if 0 < message["n"] <= MOST_CREDITS:
                connection.credits += message["n"]
            case "queue sends", "job":
                assert connection.credits > 0, "a job was sent without a credit"
                connection.credits -= 1
            case "queue sends", "returned":
                assert connection.credits >= message["n"], "more was returned than there was"
                connection.credits -= message["n"]
            case "queue sends", "ack":
                request_id = message["request_id"]
                assert request_id in database.rows, f"{request_id} is acknowledged, and has no row"


def said(frame: WSMessage) -> list[dict[str, Any]]:
    """The messages of a text frame; none where it is nonsense."""
    if frame.type is not WSMsgType.TEXT or not isinstance(frame.data, str | bytes):
        return []
    try:
        data = from_json(frame.data)
    except ValueError:
        return []
    return [each for each in (data if isinstance(data, list) else [data]) if isinstance(each, dict)]


def settled(world: "World") -> None:
    """Nothing is under way any more, and nothing has been lost."""
    for entry in world.book.entries.values():
        assert entry.endings, f"{entry.client.request_id} has no end"
    queue = world.queue
    assert queue is not None
    dispatcher = queue.dispatcher
    for what in (
        dispatcher._exchanges,
        dispatcher._jobs,
        dispatcher._open,
        dispatcher._rows.exchanges,
        dispatcher._rows._late,
        queue.schedule._demands.entries,
    ):
        assert not what, f"left over: {what}"
    workers = [worker for worker in world.workers.values() if not worker.gone]
    assert len(workers) == sum(not plan.liar for plan in world.plan.workers)
    assert len(dispatcher._seats) == len(workers), f"{len(dispatcher._seats)} workers are there"
    for worker in workers:
        assert worker.session is not None, f"{worker.process.name} is not connected"
        assert worker.session.registered.is_set()
        assert not worker.session._jobs, f"{worker.process.name} still works on {worker.session._jobs}"
        assert not worker.engine.running, f"{worker.process.name}'s engine works on {worker.engine.running}"
        assert not worker.shared.unacked._owed, f"not acknowledged: {worker.shared.unacked._owed}"
        offer = worker.status.offered
        assert offer is not None
        assert worker.session._jobs.seat.credits >= offer.slots, f"{worker.process.name} lost credits"
    _credits_agree(world, queue)


def ended(world: "World") -> None:
    """The books of the whole run."""
    killed = any(fault.kind == "kill queue" for fault in world.plan.faults)
    for entry in world.book.entries.values():
        request_id, how = entry.client.request_id, entry.endings
        assert len(how) == 1, f"{request_id} ended {how}"
        if request_id not in world.book.by_liars:
            row = world.database.rows.get(request_id)
            _check_row(entry, row, killed=killed)
            world.words.check(request_id, row)
        if world.plan.kind or entry.client.number >= 100:
            assert how == ["done"], f"{request_id} ended {how}, and nothing was wrong"


def _check_row(entry: books.Entry, row: Entry | None, *, killed: bool) -> None:
    """What the ledger has of a request is what its client has seen, unless the queue died before it was written."""
    request_id, (how,) = entry.client.request_id, entry.endings
    if how == "429 rate_limit_exceeded":
        assert entry.client.key.limited, f"{entry.client.key.id} has no limit, and {request_id} was over it"
        assert entry.retry_after > 0, f"{request_id} is not told when to come again"
        assert row is None or row.doubts(UNSIGNED), f"{request_id} was not let in, and has a row: {row}"
        return
    if how in {"refused", "200 draining", "503 draining"}:
        return  # nobody listened, or the queue takes no more
    assert row is not None or killed, f"{request_id} ended {how}, and has no row"
    if row is not None and not row.doubts(UNSIGNED):
        assert row.key == entry.client.key.id, f"{request_id} is {entry.client.key.id}'s: {row}"
    if row is None or how in {"left", "broken"}:
        return
    assert (row.outcome == "completed") == (how == "done") or killed, f"{request_id} ended {how}: {row}"
    if not row.doubts(UNCOUNTED):
        assert row.completion_tokens >= entry.got, f"{request_id} got {entry.got} words: {row}"
        if how == "done" and not row.doubts(ESTIMATED):
            assert row.completion_tokens == entry.client.words, f"{request_id}: {row}"
