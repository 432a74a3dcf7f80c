"""An HTTP server that answers every request with its own name. `python server.py NAME PORT`

`/order` asks the service `stock` first, and hands on the trace that came with the request, as any program does that takes
part in one. Each request but those for `/`, of which thousands come, is told in a line of JSON, as the server saw it.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

NAME, PORT = sys.argv[1], int(sys.argv[2])
STOCK = "http://10.96.0.20/cups"


class Handler(BaseHTTPRequestHandler):
    """GET anything."""

    protocol_version = "HTTP/1.1"  # connections may stay open
    disable_nagle_algorithm = True  # header and body are two writes

    def do_GET(self) -> None:
        """Say who answered."""
        trace = self.headers["traceparent"]
        if self.path != "/":
            print(json.dumps({"server": NAME, "path": self.path, "traceparent": trace}), flush=True)
        body = f"{NAME}\n"
        if self.path == "/order":
            with urlopen(Request(STOCK, headers={"traceparent": trace} if trace else {}), timeout=3) as stock:
                body = f"{NAME}, {stock.read().decode()}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Nothing: thousands of requests are coming."""


class Server(ThreadingHTTPServer):
    """A queue that holds a burst of connections: five, the default, would make SYNs wait a second."""

    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


Server(("127.0.0.1", PORT), Handler).serve_forever()
