"""Sends the webhook's messages, one after the other, for as long as the queue runs."""

import asyncio
import contextlib
import random
import time

import aiohttp
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from headrace_queue.ledger import outbox, webhook
from headrace_queue.ledger.metrics import WebhookMetrics

_LOOK_SECONDS = 1.0
"""How often the outbox is looked into when it was empty: rows of that time go in one message."""
_REST_SECONDS = 30
"""How long nothing is sent after a failure, at most: rows of that time go in one message, too."""
_ANSWER_SECONDS = 15
_SHOWN = 300


class Deliverer:
    """The task that sends them."""

    def __init__(
        self,
        settings: webhook.WebhookSettings,
        engine: Engine,
        metrics: WebhookMetrics,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._failing = False
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Begin."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        self._task = asyncio.create_task(self._run(self._session))

    async def close(self) -> None:
        """Stop: what is being sent is broken off, and sent again by whoever comes next."""
        self._stop.set()
        if self._task:
            await self._task
        if self._session:
            await self._session.close()

    async def _run(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            try:
                message = await asyncio.to_thread(outbox.claim, self._engine, time.time())
                rest = _LOOK_SECONDS if message is None else await self._deliver(session, message)
                left = await asyncio.to_thread(outbox.backlog, self._engine)
            except SQLAlchemyError:  # the ledger's writer says so
                rest = _LOOK_SECONDS
            except Exception:  # noqa: BLE001 - one message must not end all others
                self._log.exception("the webhook's messages cannot be sent", again_in_seconds=_REST_SECONDS)
                rest = _REST_SECONDS
            else:
                self._metrics.show(left.rows, time.time() - left.oldest if left.oldest else 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._stop.wait()

    async def _deliver(self, session: aiohttp.ClientSession, message: outbox.Message) -> float:
        """Send a message; returns for how long nothing is to be sent now."""
        sending = asyncio.create_task(self._send(session, message))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not sending.done():
            sending.cancel()
            return 0.0
        if trouble := sending.result():
            return await self._put_off(message, trouble)
        self._metrics.attempts.labels("accepted").inc()
        await asyncio.to_thread(outbox.done, self._engine, message)
        if self._failing:
            self._log.info("the webhook is accepted again")
        self._failing = False
        return 0.0

    async def _put_off(self, message: outbox.Message, trouble: str) -> float:
        self._metrics.attempts.labels("failed").inc()
        seconds = webhook.retry_after(message.attempts, random.random())  # noqa: S311 - nothing depends on it
        if not self._failing:
            fields = {"message": message.id, "rows": message.rows, "again_in_seconds": round(seconds)}
            self._log.warning("the webhook is not accepted", **fields, error=trouble)
        self._failing = True
        await asyncio.to_thread(outbox.put_off, self._engine, message, time.time() + seconds)
        return min(seconds, _REST_SECONDS)

    async def _send(self, session: aiohttp.ClientSession, message: outbox.Message) -> str:
        """Why it was not accepted; empty if it was."""
        body = webhook.payload(message.created_at, message.body)
        signed = webhook.headers(self._settings.secret, message.id, body, time.time())
        try:
            async with session.post(self._settings.url, data=body, headers=signed, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return ""
                text = (await answer.content.read(_SHOWN)).decode(errors="replace")
                return f"status {answer.status}: {text}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
