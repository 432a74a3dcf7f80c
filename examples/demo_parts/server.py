"""A backend: answers every request with its own name. `python server.py NAME PORT`"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT = sys.argv[1], int(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    """GET anything."""

    protocol_version = "HTTP/1.1"  # connections may stay open
    disable_nagle_algorithm = True  # header and body are two writes

    def do_GET(self) -> None:
        """Say who answered."""
        body = f"{NAME}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
