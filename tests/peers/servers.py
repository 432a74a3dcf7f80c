"""Real servers on loopback, each started by a context manager and ended by its pid, which report what they served."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h11
import pytest

_PATIENCE = 20.0


def program(name: str, package: str) -> str:
    """Where a program is; a test that needs it is skipped, and says why, where it is absent."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that listens on a port as long as the block lasts; its output goes to ``log``."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert running.poll() is None, f"{command[0]} ended:\n{log.read_text(errors='replace')}"
            assert time.monotonic() < until, f"{command[0]} does not listen on {port}"
            time.sleep(0.02)
        yield running
    finally:
        running.terminate()
        running.wait(_PATIENCE)


_NGINX = """
{user}
daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000; default_type text/plain;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    log_format told escape=json '{{"method":"$request_method","target":"$request_uri","status":$status,'
        '"length":$body_bytes_sent,"protocol":"$server_protocol","agent":"$http_user_agent","host":"$http_host"}}';
    server {{
        listen 127.0.0.1:{port}{http2}; server_name _; root {here}/files; access_log {here}/told.log told;
        location /chunked/ {{ alias {here}/files/; sub_filter_types *; sub_filter "\\1" "\\1"; }}
        location /moved {{ return 301 /large; }}
    }}
}}
"""


class Nginx(NamedTuple):
    """A running nginx, and its files."""

    port: int
    here: Path

    def told(self, count: int) -> list[dict[str, Any]]:
        """What its access log reports, once it reports ``count`` requests."""
        log = self.here / "told.log"
        until = time.monotonic() + _PATIENCE
        while len(lines := log.read_text().splitlines() if log.exists() else []) < count:
            assert time.monotonic() < until, f"nginx reports {len(lines)} requests, not {count}"
            time.sleep(0.01)
        return [json.loads(line) for line in lines]


@contextmanager
def nginx(here: Path, *, http2: bool = False) -> Iterator[Nginx]:
    """nginx with sendfile; files of 5 and 100,000 bytes, the same in chunks below ``/chunked/``, a redirection."""
    import os

    found = program("nginx", "nginx-light")
    files = here / "files"
    files.mkdir(parents=True)
    (files / "small").write_bytes(b"small")
    (files / "large").write_bytes(bytes(range(32, 127)) * 1052 + b"x" * 60)
    port = free_port()
    configuration = here / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            here=here,
            port=port,
            http2=" http2" if http2 else "",
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    command = [found, "-c", str(configuration), "-e", str(here / "error.log"), "-p", str(here)]
    with process(command, port, here / "nginx.out"):
        yield Nginx(port, here)


@contextmanager
def nghttpd(here: Path, *options: str) -> Iterator[int]:
    """nghttpd, nghttp2's server, without TLS; its port."""
    found = program("nghttpd", "nghttp2-server")
    (here / "hello").write_bytes(b"hello\n")
    (here / "large").write_bytes(b"0123456789" * 10_000)
    port = free_port()
    command = [found, "--no-tls", "-a", "127.0.0.1", "-d", str(here), *options, str(port)]
    with process(command, port, here / "nghttpd.out"):
        yield port


class Served(NamedTuple):
    """What a server received, and what it answered."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...]
    status: int


class H11Server:
    """A server by h11: it answers 200 with the body of the request, in chunks to HTTP/1.1; ``/status/N`` answers N."""

    def __init__(self) -> None:
        self.served: list[Served] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Ends it; every connection must have been closed by its client."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER)
        with client:
            client.settimeout(_PATIENCE)
            while self._exchange(client, connection):
                connection.start_next_cycle()

    def _exchange(self, client: socket.socket, connection: h11.Connection) -> bool:
        """One request and its answer; whether another may follow."""
        request: Any = None
        body = b""
        while True:
            event = connection.next_event()
            match event:
                case h11.NEED_DATA:
                    if connection.they_are_waiting_for_100_continue:
                        client.sendall(
                            connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                        )
                    connection.receive_data(client.recv(1 << 16))
                case h11.Request():
                    request = event
                case h11.Data():
                    body += bytes(event.data)
                case h11.EndOfMessage():
                    break
                case _:
                    return False
        trailers = tuple((bytes(n), bytes(v)) for n, v in event.headers)
        status = self._answer(client, connection, request, body)
        headers = tuple((bytes(n), bytes(v)) for n, v in request.headers)
        self.served.append(
            Served(request.method, request.target, request.http_version, headers, body, trailers, status)
        )
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    @staticmethod
    def _answer(client: socket.socket, connection: h11.Connection, request: Any, body: bytes) -> int:
        target = bytes(request.target)
        status = int(target.rpartition(b"/")[2]) if target.startswith(b"/status/") else 200
        empty = request.method == b"HEAD" or status in (204, 304)
        head = h11.Response(status_code=status, headers=[(b"content-type", b"text/plain")])
        sent = connection.send(head) or b""
        if not empty:
            sent += connection.send(h11.Data(data=body or b"nothing\n")) or b""
        sent += connection.send(h11.EndOfMessage()) or b""
        client.sendall(sent)
        return status


@contextmanager
def h11_server() -> Iterator[H11Server]:
    """An H11Server as long as the block lasts."""
    server = H11Server()
    try:
        yield server
    finally:
        server.close()
