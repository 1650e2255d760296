"""A fake of the Hugging Face Hub, as small as can be: one that could be run does not exist.

It has what the store asks for: a model's files, the address of a file (with the redirect to another server for what is
in LFS), and ranges. Endpoints and headers are those that `huggingface_hub` (2.4) asks for and reads.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator

from aiohttp import web
from tests.store.servers import free_port

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class HubServer:
    """One server for hub and storage; `token`, when there is one, is asked of everybody."""

    def __init__(
        self,
        repos: dict[str, dict[str, bytes]],
        token: str = "",
        lfs_from: int = 1000,
        revisions: dict[str, tuple[str, dict[str, bytes]]] | None = None,
    ) -> None:
        """Beside `main`, every repository has these revisions: a commit and its files each."""
        self._repos = repos
        self._revisions = revisions or {}
        self._token = token
        self._lfs_from = lfs_from
        self.storage_url = ""
        self.seen_by_storage: list[str | None] = []
        self.ranges: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        hub, storage = web.Application(), web.Application()
        hub.router.add_get("/api/models/{repo:.+?}/tree/{commit}", self._tree)
        hub.router.add_get("/api/models/{repo:.+}", self._info)
        hub.router.add_get("/{repo:.+}/resolve/{commit}/{name:.+}", self._resolve)
        storage.router.add_get("/{repo:.+?}/-/{name:.+}", self._stored)
        ports = free_port(), free_port()
        self.storage_url = f"http://127.0.0.1:{ports[1]}"
        runners = [web.AppRunner(app) for app in (hub, storage)]
        for runner, port in zip(runners, ports, strict=True):
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            for runner in runners:
                await runner.cleanup()

    def _asked(self, request: web.Request) -> tuple[str, str]:
        """The repository and the revision; a commit names its revision, too."""
        repo, _, revision = request.match_info["repo"].partition("/revision/")
        revision = request.match_info.get("commit", revision or "main")
        return repo, next((name for name, (commit, _) in self._revisions.items() if commit == revision), revision)

    def _files(self, request: web.Request) -> dict[str, bytes]:
        repo, revision = self._asked(request)
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            raise web.HTTPUnauthorized(headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        if repo not in self._repos:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        if revision in self._revisions:
            return self._revisions[revision][1]
        if revision not in {"main", COMMIT}:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no revision"})
        return self._repos[repo]

    async def _info(self, request: web.Request) -> web.Response:
        siblings = []
        for name, data in self._files(request).items():
            entry = {"rfilename": name, "size": len(data), "blobId": _git(data)}
            if len(data) >= self._lfs_from:
                entry["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 135}
            siblings.append(entry)
        repo, revision = self._asked(request)
        commit = self._revisions[revision][0] if revision in self._revisions else COMMIT
        return web.json_response({"id": repo, "sha": commit, "siblings": siblings, "tags": []})

    async def _tree(self, request: web.Request) -> web.Response:
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": _git(data)}
            for name, data in self._files(request).items()
        ]
        return web.json_response(entries)

    async def _resolve(self, request: web.Request) -> web.Response:
        data = self._files(request)[request.match_info["name"]]
        headers = {"X-Repo-Commit": COMMIT}
        if len(data) < self._lfs_from:
            return self._ranged(request, data, headers | {"ETag": f'"{_git(data)}"'})
        headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        where = f"{self.storage_url}/{request.match_info['repo']}/-/{request.match_info['name']}"
        return web.Response(status=302, headers=headers | {"Location": where})

    async def _stored(self, request: web.Request) -> web.Response:
        self.seen_by_storage.append(request.headers.get("Authorization"))
        return self._ranged(request, self._repos[request.match_info["repo"]][request.match_info["name"]], {})

    def _ranged(self, request: web.Request, data: bytes, headers: dict[str, str]) -> web.Response:
        wanted = request.http_range
        if wanted.start is None:
            return web.Response(body=data, headers=headers)
        self.ranges.append(request.headers["Range"])
        span = f"bytes {wanted.start}-{wanted.stop - 1}/{len(data)}"
        return web.Response(status=206, body=data[wanted], headers=headers | {"Content-Range": span})


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
