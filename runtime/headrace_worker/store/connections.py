"""Connections of HTTP/1.1 that are used again, for threads that read bodies into memory of their own.

The standard library's client, for of those that were tried it alone reads from a socket into given memory (decision
15). What it lacks is here: connections are kept, redirects followed, the environment's proxies used. Everything blocks.
"""

import base64
import contextlib
import ssl
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from headrace_worker.store.errors import AttemptError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CONNECT_S = 10.0
_PORTS = {"http": 80, "https": 443}


class _Way(NamedTuple):
    """How a server is reached; a connection may be used again for the same way."""

    scheme: str
    host: str
    port: int
    proxy: str


class Connections:
    """To whatever servers are asked, by any number of threads; they are closed with this object."""

    def __init__(self, silence_s: float) -> None:
        """How long a server may be silent."""
        self._silence_s = silence_s
        self._idle: defaultdict[_Way, list[HTTPConnection]] = defaultdict(list)

    def __del__(self) -> None:
        """A thread that waits for a silent server may have it for longer than who made it."""
        for connection in (one for kept in self._idle.values() for one in kept):
            connection.close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """The answer, whatever its status; its connection is kept if all of it has been read at the end.

        Raises:
            AttemptError: there is none, or it breaks off. The text has no address: a signed one is a secret.
        """
        try:
            way, connection, answer = self._followed(url, headers)
            try:
                yield answer
            finally:
                if answer.isclosed():  # as it is when it has been read
                    self._idle[way].append(connection)
                else:
                    answer.close()
                    connection.close()
        except (HTTPException, OSError) as error:
            raise AttemptError("passing", f"{type(error).__name__}: {error}") from None

    def _followed(self, url: str, headers: Mapping[str, str]) -> tuple[_Way, HTTPConnection, HTTPResponse]:
        for _ in range(_MOST_REDIRECTS + 1):
            way = _way(url)
            connection, answer = self._asked(way, url, headers)
            to = answer.getheader("Location") if answer.status in _REDIRECTS else None
            if not to:
                return way, connection, answer
            answer.close()
            connection.close()
            url = urljoin(url, to)
            if _way(url) != way:  # nobody else is shown the keys
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        raise AttemptError("final", f"it answered with more than {_MOST_REDIRECTS} redirects")

    def _asked(self, way: _Way, url: str, headers: Mapping[str, str]) -> tuple[HTTPConnection, HTTPResponse]:
        with contextlib.suppress(IndexError, ConnectionError, ssl.SSLError):  # the server has closed it meanwhile
            kept = self._idle[way].pop()
            return kept, _sent(kept, way, url, headers)
        opened = self._opened(way)
        return opened, _sent(opened, way, url, headers)

    def _opened(self, way: _Way) -> HTTPConnection:
        proxy = urlsplit(way.proxy)
        host, port = (proxy.hostname or "", proxy.port or _PORTS["http"]) if way.proxy else (way.host, way.port)
        if way.scheme == "http":
            connection = HTTPConnection(host, port, timeout=_CONNECT_S)
        else:
            connection = HTTPSConnection(host, port, timeout=_CONNECT_S, context=self._tls)
            if way.proxy:
                connection.set_tunnel(way.host, way.port, _shown(proxy))
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.timeout = self._silence_s  # where it is opened again
        connection.sock.settimeout(self._silence_s)
        return connection


def _sent(connection: HTTPConnection, way: _Way, url: str, headers: Mapping[str, str]) -> HTTPResponse:
    parts = urlsplit(quote(url, safe="%/:=&?~#+!$,;'@()*[]"))._replace(fragment="")
    plain_proxy = way.proxy and way.scheme == "http"
    shown = _shown(urlsplit(way.proxy)) if plain_proxy else {}
    if not plain_proxy:
        parts = parts._replace(scheme="", netloc="", path=parts.path or "/")
    try:
        connection.request("GET", parts.geturl(), headers={**headers, **shown})
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _way(url: str) -> _Way:
    """Raises: AttemptError: it is no URL that can be asked."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise AttemptError("final", f"the scheme {parts.scheme!r} cannot be asked; accepted: http and https")
    proxies = {} if proxy_bypass(parts.hostname) else getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and urlsplit(proxy).scheme != "http":
        raise AttemptError("final", f"the proxy has the scheme {urlsplit(proxy).scheme!r}; accepted: http")
    return _Way(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], proxy)


def _shown(proxy: SplitResult) -> dict[str, str]:
    """The keys to the proxy, which are in its URL."""
    if not proxy.username:
        return {}
    keys = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(keys.encode()).decode()}"}
