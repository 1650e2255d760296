"""An engine program with a trouble of its own: `troubled_engine.py PORT TROUBLE`.

`stopped`: the whole process stands still in the middle of its first stream. `silent`: likewise, but health checks are
answered as before. `slow`: never answers its health check well. `mute`: answers its health check alone. `cold`: answers
every request with an error. `brittle`: ends at its first request. `late`: answers a chat that is not streamed after
1.5 s. `unhurried`: takes a second for a stream. `sound`: has none.
"""

import itertools
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TROUBLE = sys.argv[2] if len(sys.argv) > 2 else "sound"
ERROR = b'{"error": {"message": "no kernel image is available", "code": 500}}'
UNHURRIED = b"""data: {"choices":[{"delta":{"content":"well"}}]}

data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}

data: [DONE]

"""
streams = itertools.count()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(503 if TROUBLE == "slow" else 200, b"")

    def do_POST(self) -> None:
        streamed = b'"stream":true' in self.rfile.read(int(self.headers["Content-Length"]))
        if TROUBLE == "brittle":
            sys.stderr.write("RuntimeError: CUDA error: an illegal memory access was encountered\n")
            sys.stderr.flush()
            os._exit(3)
        if TROUBLE == "mute":
            threading.Event().wait()
        if TROUBLE == "cold":
            self.reply(500, ERROR)
        elif streamed:
            self.stream()
        else:
            if TROUBLE == "late" and "chat" in self.path:
                time.sleep(1.5)
            self.reply(200, b"{}")

    def stream(self) -> None:
        if TROUBLE == "unhurried":
            time.sleep(1)
            self.reply(200, UNHURRIED)
            return
        if next(streams) == 0:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'data: {"choices":[]}\n\n')
            if TROUBLE == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
