"""Workers that poll over plain HTTP; the requests and their meaning are in `headrace_api.wire_poll`."""

import asyncio
import secrets
from dataclasses import dataclass

from aiohttp import web

from headrace_api.wire_poll import POLL_PATH, PollEnd, PollSession
from headrace_queue.poll_pipe import NumberError, Pipe
from headrace_queue.worker_door import MAX_FRAME_BYTES, WorkerDoor, token_of_request

_WAIT_SECONDS = 20.0
"""Proxies end requests that are silent for 30 or 60 s."""
_SILENCE_SECONDS = 60.0
_REMEMBERED_SECONDS = 60.0
"""How long a session that has ended can still be asked why."""
_GONE = PollEnd(code=1006, reason="there is no such session: it has ended, or was another replica's")


@dataclass
class _Session:
    pipe: Pipe
    task: asyncio.Task[None]
    silence: asyncio.TimerHandle | None = None


class WorkerPoll:
    """The sessions of the workers that poll."""

    def __init__(self, door: WorkerDoor) -> None:
        self._door = door
        self._sessions: dict[str, _Session] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the handlers where workers look for them."""
        router.add_post(POLL_PATH, self.open)
        router.add_post(POLL_PATH + r"/{session}/send/{number:\d{1,12}}", self.send)
        router.add_post(POLL_PATH + r"/{session}/fetch/{number:\d{1,12}}", self.fetch)
        router.add_delete(POLL_PATH + "/{session}", self.leave)

    async def open(self, request: web.Request) -> web.Response:
        """A worker comes; it registers with its first frame."""
        if (refusal := self._door.refusal(request, may_come_later=False)) is not None:
            return refusal
        name, pipe = secrets.token_urlsafe(24), Pipe()
        serving = self._door.serve(pipe, token_of_request(request), request.remote, speaks_v1=True)
        session = self._sessions[name] = _Session(pipe, asyncio.create_task(serving))
        session.task.add_done_callback(lambda _: self._over(name))
        self._listen(session)
        told = PollSession(session=name, wait_s=_WAIT_SECONDS, silence_s=_SILENCE_SECONDS)
        return web.json_response(told.model_dump(), status=201)

    async def send(self, request: web.Request) -> web.Response:
        """Frames from a worker."""
        session = self._sessions.get(request.match_info["session"])
        if session is None or session.pipe.end is not None:
            return _ended(session)
        self._listen(session)
        try:
            body = await request.clone(client_max_size=MAX_FRAME_BYTES).read()  # what bounds clients is not for workers
            session.pipe.push(int(request.match_info["number"]), body)
        except ValueError as error:
            return _wrong(error)
        return web.Response(status=204)

    async def fetch(self, request: web.Request) -> web.Response:
        """Frames for a worker, as soon as there are any."""
        session = self._sessions.get(request.match_info["session"])
        if session is None:
            return _ended(None)
        self._listen(session)
        try:
            body = await session.pipe.fetch(int(request.match_info["number"]), _WAIT_SECONDS)
        except ValueError as error:
            return _wrong(error)
        finally:
            self._listen(session)
        return _ended(session) if body is None else web.Response(body=body)

    async def leave(self, request: web.Request) -> web.Response:
        """The worker goes."""
        if session := self._sessions.get(request.match_info["session"]):
            session.pipe.lose()
        return web.Response(status=204)

    def _listen(self, session: _Session) -> None:
        if session.silence:
            session.silence.cancel()
        session.silence = asyncio.get_running_loop().call_later(_SILENCE_SECONDS, session.pipe.lose)

    def _over(self, name: str) -> None:
        session = self._sessions[name]
        session.pipe.lose()  # where it has not been said already why
        if session.silence:
            session.silence.cancel()
        asyncio.get_running_loop().call_later(_REMEMBERED_SECONDS, self._sessions.pop, name)


def _ended(session: _Session | None) -> web.Response:
    end = (session.pipe.end if session else None) or _GONE
    return web.json_response(end.model_dump(), status=410)


def _wrong(error: ValueError) -> web.Response:
    """A worker that numbers its requests wrongly, or sends what are no frames."""
    status, code = (409, "wrong_number") if isinstance(error, NumberError) else (400, "no_frames")
    body = {"message": str(error), "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": body}, status=status)
