"""The webhook's HTTPS server.

Anybody in the cluster can reach it, and learns nothing but what the rules say of a model that they bring themselves.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from headrace_api.rules.finding import Facts
from headrace_operator.admission import review
from headrace_operator.admission.metrics import AdmissionMetrics
from headrace_operator.admission.review import Answer, Request, Webhook

MAX_BYTES = 8 * 1024**2
"""An AdmissionReview holds the object twice, and the API server takes objects of up to 3 MiB."""
_BODY_SECONDS = 10.0

_log = structlog.get_logger()


def application(metrics: AdmissionMetrics, facts: Facts | None = None) -> web.Application:
    """`POST /mutate` and `POST /validate`."""
    app = web.Application(client_max_size=MAX_BYTES)
    for webhook in ("mutate", "validate"):
        app.router.add_post(f"/{webhook}", _handler(webhook, metrics, facts))
    return app


@asynccontextmanager
async def serve(port: int, context: ssl.SSLContext, metrics: AdmissionMetrics, facts: Facts) -> AsyncIterator[None]:
    """Serve on `port`; what certificate is shown is a matter of `context`."""
    runner = web.AppRunner(application(metrics, facts), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port, ssl_context=context).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _handler(
    webhook: Webhook, metrics: AdmissionMetrics, facts: Facts | None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        began = time.perf_counter()
        outcome = "error"
        try:
            asked = review.read(await _body(request))
            # in a thread: however long a check takes, the operator goes on reconciling
            answer = await asyncio.to_thread(review.answer, webhook, asked, facts)
            outcome = answer.outcome
            _say(webhook, asked, answer)
            return web.json_response(answer.body)
        except review.UnreadableReviewError as error:
            outcome = "unreadable"
            return web.Response(status=400, text=f"{error}\n")
        except web.HTTPException:
            outcome = "unreadable"
            raise
        except Exception:  # noqa: BLE001  # logged; its words are not for the caller
            # the API server then does what failurePolicy says
            _log.exception("cannot answer an admission review", webhook=webhook)
            return web.Response(status=500, text="the webhook failed; the operator's log says why\n")
        finally:
            metrics.count(webhook, outcome, time.perf_counter() - began)

    return handle


async def _body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        text = f"Content-Type {request.content_type} is not accepted; it has to be application/json\n"
        raise web.HTTPUnsupportedMediaType(text=text)
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()  # 413 when it is larger than MAX_BYTES
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {_BODY_SECONDS:g} s\n") from None


def _say(webhook: Webhook, asked: Request, answer: Answer) -> None:
    say = _log.info if answer.outcome == "refused" else _log.debug
    say(
        "admission review",
        webhook=webhook,
        operation=asked.operation,
        namespace=asked.namespace,
        name=asked.name,
        outcome=answer.outcome,
        codes=list(answer.codes),
    )
