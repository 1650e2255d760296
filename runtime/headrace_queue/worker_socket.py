"""The queue's end of a `headrace.v1` connection; the messages and their meaning are in `headrace_api.wire`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from headrace_api import wire
from headrace_api.load import Starting
from headrace_api.pieces import decode_pieces
from headrace_queue import sse
from headrace_queue.conduct import Conduct
from headrace_queue.demand_teller import DemandTeller
from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Call, End
from headrace_queue.keys.worker_tokens import WorkerRights
from headrace_queue.needs import offers
from headrace_queue.outbox import Outbox

_REASON_CHARACTERS = 300
"""Of what a worker says; a log line is no place for more."""


def job_message(job: int, call: Call, waited_s: float, receipt: str) -> str:
    """A `wire.Job` as JSON; the client's body goes in as it came, neither parsed nor rebuilt."""
    head = f'{{"type":"job","job":{job},"request_id":{quoted(call.request_id)},"openai_url":{quoted(call.openai_url)}'
    tail = f',"waited_s":{waited_s:.6f},"receipt":{quoted(receipt)}'
    if call.continues:
        tail += f',"continues":true,"said_tokens":{call.said_tokens}'
    return head + tail + ',"openai_req":' + call.raw.decode() + "}"


def ack_message(request_id: str) -> str:
    """A `wire.Ack` as JSON: there is one for each request, as of jobs."""
    return f'{{"type":"ack","request_id":{quoted(request_id)}}}'


class RightsError(Exception):
    """A worker wants to serve what its token is not for; the message says which models."""


@dataclass(frozen=True)
class Replica:
    """What sessions need of the queue that they belong to."""

    dispatcher: Dispatcher
    teller: DemandTeller
    id: str
    """See `wire.Registered.replica`."""
    replicas: str = ""
    """See `wire.Registered.replicas`."""


class V1Link:
    """Sends one worker what the dispatcher has for it."""

    def __init__(self, outbox: Outbox, conduct: Conduct, now: Callable[[], float]) -> None:
        self._outbox = outbox
        self._conduct = conduct
        self._now = now

    def give(self, job: int, call: Call, waited_s: float, receipt: str, /) -> None:
        """Send a job."""
        self._conduct.give(job, len(call.raw), self._now())
        self._outbox.put(job_message(job, call, waited_s, receipt))

    def cancel(self, job: int) -> None:
        """Ask to stop a job."""
        self._outbox.put(wire.encoded(wire.Cancel(job=job)))

    def drain(self, reason: str) -> None:
        """Say that no further job will come."""
        self._outbox.put(wire.encoded(wire.Drain(reason=reason)))

    def demand(self, demand: wire.Demand, /) -> None:
        """Say that requests wait."""
        self._outbox.put(wire.encoded(demand))


class V1Session:
    """One registered worker's connection."""

    def __init__(
        self,
        replica: Replica,
        outbox: Outbox,
        register: wire.Register,
        rights: WorkerRights,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._dispatcher = dispatcher = replica.dispatcher
        self._teller = replica.teller
        self._outbox = outbox
        self._log = log
        self._rights = rights
        outbox.put(wire.encoded(wire.Registered(replica=replica.id, replicas=replica.replicas)))
        self._state = register.state
        self._note = ""
        report = wire.Report(state=register.state)
        self._now = asyncio.get_running_loop().time
        self._conduct = Conduct(register.nv_gpu_count or len(register.nv_gpus or register.cl_gpus or ()))
        link = V1Link(outbox, self._conduct, self._now)
        offered = offers(register.tags, register.hostings)
        self._worker = dispatcher.join(
            link, register.models, register.worker, _starting(report), offered, continues=register.continues
        )
        if register.shares:
            self._teller.join(self._worker, link)
        self._take(report)  # a worker that drains comes back only for what is not acknowledged yet

    def take(self, frame: WSMessage) -> None:
        """Take a frame of the worker's.

        Raises:
            ValueError: it is none of the protocol's.
            RightsError: the worker wants to serve what its token is not for.
            ConductError: it does what no honest worker does.
        """
        if frame.type is WSMsgType.BINARY:
            self._take_pieces(frame.data)
        elif frame.type is WSMsgType.TEXT:
            for message in wire.read_worker_messages(frame.data):
                self._handle(message)

    def leave(self) -> None:
        """The connection has ended."""
        self._teller.leave(self._worker)
        self._dispatcher.lose(self._worker)

    def _take_pieces(self, frame: bytes) -> None:
        now = self._now()
        for job, data in decode_pieces(frame):
            self._conduct.piece(job, len(data), now)
            self._dispatcher.piece(self._worker, job, data)

    def _handle(self, message: wire.WorkerMessage) -> None:
        match message:
            case wire.Credit():
                self._conduct.said(self._now())
                self._teller.brought(self._worker)
                self._dispatcher.grant(self._worker, message.n)
            case wire.Recall():
                self._conduct.said(self._now())
                returned = self._dispatcher.take_back(self._worker, message.n)
                self._outbox.put(wire.encoded(wire.Returned(n=returned)))
            case wire.Result():
                self._finish(message)
            case wire.HandBack():
                self._conduct.end(message.job, self._now())
                request_id = self._dispatcher.hand_back(self._worker, message.job, failed=message.failed)
                reason = _short(message.reason)
                self._log.info("handed back", request_id=request_id, reason=reason, failed=message.failed)
            case wire.Drain():
                self._conduct.said(self._now())
                self._dispatcher.stop_giving(self._worker)
            case wire.Report():
                self._conduct.reported(self._now())
                self._take(message)
            case wire.Serving():
                self._conduct.reported(self._now())
                self._log.info("serves other models", models=message.models, adapters=message.adapters)
                if why := self._rights.excess(message.models):
                    raise RightsError(why)
                self._dispatcher.replace_models(self._worker, message.models)

    def _finish(self, message: wire.Result) -> None:
        doubt = self._conduct.doubt(message.job, message.usage, message.gpu_seconds, self._now())
        end = End(message.status, _body(message), message.usage, gpu_seconds=message.gpu_seconds)
        ack = partial(self._acknowledge, message.request_id, doubt)
        if doubt:
            self._dispatcher.stop_giving(self._worker)
        self._dispatcher.finish(self._worker, message.job, message.request_id, end, message.receipt, ack)

    def _acknowledge(self, request_id: str, doubt: str) -> None:
        """The ledger holds what it was told to what can be; whoever told it is cut off once it need not tell again."""
        self._outbox.put(ack_message(request_id))
        if doubt:
            self._log.error("worker cut off", reason=doubt)
            self._outbox.close(WSCloseCode.POLICY_VIOLATION, f"what the worker says it used cannot be: {doubt}")

    def _take(self, report: wire.Report) -> None:
        if report.state != self._state:
            self._log.info("worker state", before=self._state, state=report.state, detail=_short(report.detail))
            self._state = report.state
        if report.state in {"draining", "stopped"}:
            self._dispatcher.stop_giving(self._worker)
        else:
            note = _short(report.detail) if report.state == "ready" else ""
            if note != self._note:
                self._log.info("worker note", before=self._note, note=note)
                self._note = note
            self._dispatcher.report(self._worker, _starting(report), note)


def _starting(report: wire.Report) -> Starting | None:
    """What is told of a worker that is not ready; None for one that is."""
    if report.state == "ready":
        return None
    done, total = report.done_bytes, report.total_bytes
    return Starting(state=report.state, detail=_short(report.detail), done_bytes=done, total_bytes=total)


def _body(result: wire.Result) -> dict[str, Any] | None:
    """An error in OpenAI's shape, whatever the worker made of it."""
    if result.body is None or result.status == 200:
        return result.body
    error = result.body.get("error")
    if not isinstance(error, dict):
        return sse.error_body(error or {}, result.status)
    return result.body | sse.error_body(error, result.status)


def _short(said: str) -> str:
    return said[:_REASON_CHARACTERS]
