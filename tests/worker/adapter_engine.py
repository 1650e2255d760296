"""An engine program that takes adapters while it runs, as vLLM does: `adapter_engine.py PORT`; its model is `m`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

loaded: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path, body.get("lora_name"):
            case "/v1/load_lora_adapter", name:
                status = 400 if name in loaded else 200
                loaded.add(name)  # before the answer, after which it may be asked for
                self.reply(status)
            case "/v1/unload_lora_adapter", name:
                status = 200 if name in loaded else 404
                loaded.discard(name)
                self.reply(status)
            case _:
                self.reply(200 if body["model"] in {"m", *loaded} else 404, model=body["model"])

    def reply(self, status: int, **said: Any) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
