"""Gives the failures of the public port's aiohttp handlers OpenAI's shape, also those that aiohttp finds.

And all their answers an id.
"""

import uuid
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from headrace_queue import errors
from headrace_queue.request_ids import HEADER, told_in_any_case


def error_response(error: errors.ApiError) -> web.Response:
    """The answer that tells a client of `error`."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.json_response(error.body(), status=error.status, headers=headers)


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware."""
    try:
        return await handler(request)
    except errors.ApiError as error:
        return error_response(error)
    except web.HTTPException as error:
        allowed = error.headers.get("Allow")
        hint = f" It takes {allowed}." if allowed else ""
        message = f"{request.method} {request.path}: {error.reason}.{hint}"
        shaped = errors.ApiError(error.status, (error.reason or "error").lower().replace(" ", "_"), message)
        response = error_response(shaped)
        response.headers.update({"Allow": allowed} if allowed else {})
        return response


class OpenAiRequestHandler(web.RequestHandler):
    """aiohttp's protocol, but for how it refuses what it cannot read, which no middleware gets to see."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer; a bad request is its client's affair, and writes no log as a fault of a handler does."""
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        why = (message or "").partition("\n")[0].rstrip(".:")
        response = error_response(errors.bad_http(why))
        response.headers[HEADER] = uuid.uuid4().hex
        response.headers["Connection"] = "close"
        response.force_close()
        return response


async def tell_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """The signal `on_response_prepare`: every answer has the client's id, or one of its own."""
    brought = request.headers.get(HEADER)
    raw = None if brought is None else brought.encode("utf-8", "surrogateescape")
    response.headers[HEADER] = told_in_any_case(uuid.uuid4().hex, raw)
