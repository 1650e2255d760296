"""The connections that ranges come by, against a server of this process: kept, redirected, through proxies, TLS."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace_operator.admission import certificates
from headrace_worker.store.connections import Connections
from headrace_worker.store.errors import AttemptError

BODY = b"0123456789" * 100
KEYS = {"Authorization": "Bearer secret", "Range": "bytes=0-999"}


class Server(ThreadingHTTPServer):
    """Answers with `BODY`, or as a path says, and is a proxy, too."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        """Method and target."""
        self.sent: list[dict[str, str]] = []
        """Headers, their names in lower case."""
        self.peers: set[Any] = set()
        """Addresses of who has connected."""
        self.elsewhere = ""
        """Where `/moved` is now."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._note()
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path == "/silent":
            threading.Event().wait(1)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:500] if self.path == "/half" else BODY)
        if self.path in {"/half", "/closes"}:  # without having said so
            self.close_connection = True
        return None

    def do_CONNECT(self) -> None:
        self._note()
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=pass_on, args=(server, self.connection), daemon=True)
            back.start()
            pass_on(self.connection, server)
            back.join()
        self.close_connection = True

    def _note(self) -> None:
        self.server.asked.append((self.command, self.path))
        self.server.sent.append({name.lower(): value for name, value in self.headers.items()})
        self.server.peers.add(self.client_address)

    def log_message(self, *_: Any) -> None:
        """Not wanted."""


def pass_on(giver: socket.socket, taker: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := giver.recv(2**16):
            taker.sendall(data)
    with contextlib.suppress(OSError):
        taker.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def body(connections: Connections, url: str) -> bytes:
    with connections.get(url, KEYS) as answer:
        assert answer.status == 200
        return answer.read()


def test_a_connection_is_used_again(server: Server) -> None:
    connections = Connections(1.0)
    assert [body(connections, f"{server.url}/{n}") for n in range(3)] == [BODY] * 3
    assert len(server.peers) == 1


def test_one_whose_answer_was_not_read_is_not(server: Server) -> None:
    connections = Connections(1.0)
    with connections.get(f"{server.url}/", KEYS) as answer:
        answer.read(10)
    assert body(connections, f"{server.url}/") == BODY
    assert len(server.peers) == 2


def test_one_that_the_server_has_closed_is_no_failure(server: Server) -> None:
    connections = Connections(1.0)
    assert [body(connections, f"{server.url}/closes") for _ in range(2)] == [BODY] * 2
    assert len(server.peers) == 2


@pytest.mark.parametrize("path", ["/half", "/silent"])
def test_what_does_not_come_is_a_passing_failure(server: Server, path: str) -> None:
    with pytest.raises(AttemptError) as raised:
        body(Connections(0.2), f"{server.url}{path}")
    assert raised.value.kind == "passing"


def test_no_server_is_a_passing_failure_that_does_not_tell_what_was_signed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x?X-Amz-Signature=secret"
        with pytest.raises(AttemptError) as raised:
            body(Connections(1.0), url)
    assert raised.value.kind == "passing"
    assert "secret" not in str(raised.value)


def test_keys_are_not_shown_to_who_is_redirected_to(server: Server) -> None:
    with serving() as other:
        server.elsewhere = f"{other.url}/there"
        assert body(Connections(1.0), f"{server.url}/moved") == BODY
        assert other.asked == [("GET", "/there")]
        assert "authorization" not in other.sent[0]
        assert other.sent[0]["range"] == KEYS["Range"]
    assert server.sent[0]["authorization"] == KEYS["Authorization"]


def test_redirects_have_an_end(server: Server) -> None:
    server.elsewhere = "/moved"
    with pytest.raises(AttemptError, match="redirects") as raised:
        body(Connections(1.0), f"{server.url}/moved")
    assert raised.value.kind == "final"
    assert server.sent[-1]["authorization"] == KEYS["Authorization"]


def test_a_proxy_is_asked_with_its_keys(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//us%40er:pass@"))
    assert body(Connections(1.0), "http://models.example/a%20b?c=%2F") == BODY
    assert server.asked == [("GET", "http://models.example/a%20b?c=%2F")]
    assert server.sent[0]["host"] == "models.example"
    assert server.sent[0]["proxy-authorization"] == "Basic dXNAZXI6cGFzcw=="


def test_a_host_may_be_without_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert body(Connections(1.0), f"{server.url}/") == BODY


@pytest.mark.parametrize(
    ("url", "proxy", "says"),
    [("ftp://a/b", "", "'ftp'"), ("https:///b", "", "cannot be asked"), ("http://a/b", "socks5://p:1", "'socks5'")],
)
def test_what_cannot_be_asked_is_named(url: str, proxy: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(AttemptError, match=says) as raised:
        body(Connections(1.0), url)
    assert raised.value.kind == "final"


@pytest.mark.parametrize("proxied", [False, True])
def test_tls_is_checked_with_and_without_a_proxy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    pair = certificates.issue("localhost", datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.load(context, pair)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(pair.certificate)
    if proxied:
        monkeypatch.setenv("https_proxy", server.url)
    with serving(context) as secured:
        url = f"https://localhost:{secured.server_address[1]}/"
        with pytest.raises(AttemptError, match="certificate verify failed"):
            body(Connections(1.0), url)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        connections = Connections(1.0)
        assert [body(connections, url) for _ in range(2)] == [BODY] * 2
        assert {method for method, _ in server.asked} == ({"CONNECT"} if proxied else set())
        assert secured.sent[0]["authorization"] == KEYS["Authorization"]
        assert len(secured.peers) == 1
