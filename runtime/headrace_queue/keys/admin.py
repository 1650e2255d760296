"""`/keys` on the admin port: makes, lists, revokes and rotates keys, for those who have the admin key."""

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from headrace_api.keys import KEYS_PATH, KeyList, KeyRights, NewSecret, Rotation
from headrace_queue.errors import ApiError
from headrace_queue.invalid import in_words
from headrace_queue.keys import store
from headrace_queue.keys.digests import bearer
from headrace_queue.keys.service import KeyService

Body = TypeVar("Body", bound=BaseModel)


class KeyAdmin:
    """The handlers."""

    def __init__(self, service: KeyService, log: structlog.typing.FilteringBoundLogger) -> None:
        self._service = service
        self._log = log

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put them where `headrace keys` looks for them."""
        one = KEYS_PATH + "/{id}"
        for method, path, handler in (
            ("GET", KEYS_PATH, self._list),
            ("POST", KEYS_PATH, self._create),
            ("DELETE", one, self._revoke),
            ("POST", one + "/rotate", self._rotate),
        ):
            router.add_route(method, path, self._guarded(handler))

    async def _list(self, _: web.Request) -> web.Response:
        await self._service.refresh()
        return _json(KeyList(keys=[key.info for key in self._service.access.ring.keys.values()]))

    async def _create(self, request: web.Request) -> web.Response:
        rights = await _read(request, KeyRights)
        text, info = await self._service.transact(lambda connection: store.create(connection, rights, time.time()))
        await self._service.refresh()
        self._log.info("key created", key=info.id, name=info.name)
        return _json(NewSecret(key=text, info=info), status=201)

    async def _revoke(self, request: web.Request) -> web.Response:
        key_id = self._own(request)
        info = await self._service.transact(lambda connection: store.revoke(connection, key_id, time.time()))
        await self._service.refresh()
        self._log.info("key revoked", key=info.id, name=info.name)
        return _json(info)

    async def _rotate(self, request: web.Request) -> web.Response:
        key_id, wish = self._own(request), await _read(request, Rotation)
        text, info = await self._service.transact(
            lambda connection: store.rotate(connection, key_id, wish.grace_seconds, time.time())
        )
        await self._service.refresh()
        self._log.info("key rotated", key=info.id, name=info.name, grace_seconds=wish.grace_seconds)
        return _json(NewSecret(key=text, info=info))

    def _own(self, request: web.Request) -> str:
        key_id = request.match_info["id"]
        found = self._service.access.ring.keys.get(key_id)
        if found and found.info.source == "file":
            raise ApiError(409, "key_of_file", f"The key {key_id} is of the keys file: change it there.")
        return key_id

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                self._check(request)
                return await handler(request)
            except ApiError as error:
                return web.json_response(error.body(), status=error.status, headers=error.headers)
            except LookupError as error:
                return _failed(404, "key_not_found", f"{error.args[0]}.")
            except store.UnreadableKeyError as error:
                return _failed(409, "key_unreadable", f"{error}.")
            except SQLAlchemyError as error:
                self._log.warning("a key cannot be changed", error=str(error))
                return _failed(503, "no_database", "The queue's database cannot be reached, or refuses.")

        return guarded

    def _check(self, request: web.Request) -> None:
        wanted = self._service.settings.admin_key
        if wanted is None:
            raise ApiError(403, "no_admin_key", "This queue has no admin key (--admin-key): it manages no keys.")
        given = bearer(request.headers.get("Authorization", ""))
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode()):
            message = "Keys are managed with `Authorization: Bearer ADMIN_KEY`."
            raise ApiError(401, "invalid_admin_key", message, headers={"WWW-Authenticate": "Bearer"})


async def _read(request: web.Request, shape: type[Body]) -> Body:
    try:
        return shape.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise ApiError(400, "invalid_request", in_words(error)) from None


def _json(body: BaseModel, status: int = 200) -> web.Response:
    return web.Response(text=body.model_dump_json(by_alias=True), status=status, content_type="application/json")


def _failed(status: int, code: str, message: str) -> web.Response:
    return web.json_response(ApiError(status, code, message).body(), status=status)
