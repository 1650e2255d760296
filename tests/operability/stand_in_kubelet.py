"""A kubelet as far as `kubectl logs` goes: the API server asks it for the log of a container, over TLS."""

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from headrace_operator.admission import certificates

NODE = "stand-in"


@contextlib.contextmanager
def running(logs: Mapping[tuple[str, bool], list[tuple[str, str]]], folder: Path) -> Iterator[dict[str, Any]]:
    """Serve `logs`, lines with their times by pod and whether of the previous container; yields its Node."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            options = parse_qs(asked.query)
            _, _, _, pod, container = asked.path.split("/")
            lines = logs.get((pod, options.get("previous") == ["true"]))
            assert container == "worker"
            self.send_response(200 if lines else 400)
            self.end_headers()
            text = "".join(f"{time} {line}\n" if "timestamps" in options else f"{line}\n" for time, line in lines or [])
            self.wfile.write(text.encode() if lines else f"no such container in {pod}".encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pair = certificates.issue(NODE, datetime.now(UTC))
    file = folder / "kubelet.pem"
    file.write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}},
            },
        }
    finally:
        server.shutdown()
        server.server_close()
