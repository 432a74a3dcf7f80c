"""nginx as another parser of disputed requests: what it passes on as two requests is two of ours, or an error."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from differential import smuggling
from differential.boundaries import disputed, readings
from differential.http1_strategies import mutants
from differential.http1_witnesses import ALL
from differential.messages import Message, Reading
from differential.ours import Ours
from peers.servers import free_port, process, program

_CONFIGURATION = """
{user}
daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi; keepalive_requests 10000; lingering_close off;
    proxy_ignore_client_abort on;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://unix:{here}/behind.sock; }} }}
    server {{ listen unix:{here}/behind.sock; location / {{ add_header X-Was $request_method:$request_uri; return 204; }} }}
}}
"""
_WAS = re.compile(rb"\r\nX-Was: (\S+?):(.*?)\r\n")
_REFUSED = re.compile(rb"HTTP/1\.1 ([45]\d\d)")


class NginxWitness:
    """nginx as a proxy: a request that it passes on was read to its end."""

    name = "nginx"

    def __init__(self, port: int) -> None:
        self.port = port

    def requests(self, data: bytes) -> Reading:
        """What it passes on of the bytes of a client, which ends after them."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            with suppress(OSError):  # it may have refused before all is sent
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while part := client.recv(1 << 16):
                    answer += part
        messages = tuple(Message(method, target, complete=True) for method, target in _WAS.findall(answer))
        refused = _REFUSED.search(answer)
        closed = b"\r\nConnection: close\r\n" in answer
        return Reading(messages, error=refused[1].decode() if refused else None, closed=closed)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxWitness]:
    """A running nginx."""
    here = tmp_path_factory.mktemp("smuggling")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (here / "nginx.conf").write_text(_CONFIGURATION.format(here=here, port=port, user=user))
    command = [program("nginx", "nginx-light"), "-c", str(here / "nginx.conf"), "-e", str(here / "error.log")]
    with process([*command, "-p", str(here)], port, here / "nginx.out"):
        yield NginxWitness(port)


def _path(target: bytes) -> bytes:
    """A target without scheme and authority, as nginx tells it."""
    return re.sub(rb"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?]*", b"", target) or b"/"


def wrong(data: bytes, nginx: NginxWitness) -> list[str]:
    """What is wrong with our reading, by nginx's."""
    ours, theirs = Ours().requests(data), nginx.requests(data)
    mine, other = (
        [(m.method, _path(m.target or b"")) for m in reading.complete] for reading in (ours, theirs)
    )
    found = []
    if any(one != another for one, another in zip(mine, other, strict=False)):
        found.append(f"ours {mine}, nginx {other}")
    whole = not (theirs.error or theirs.closed)
    if whole and not (ours.error or ours.switched or ours.closed) and len(mine) != len(other):
        found.append(f"ours reads {len(mine)} requests, nginx {len(other)}")
    if whole and not ours.error and (dispute := disputed({**readings(data, ALL), "nginx": theirs})):
        found.append(dispute)
    return [f"{data!r} (ours: {ours.error}, nginx: {theirs.error}): {one}" for one in found]


@pytest.mark.parametrize("payload", smuggling.REQUESTS, ids=lambda payload: payload.name)
def test_a_payload_is_read_as_nginx_reads_it_or_refused(
    nginx: NginxWitness, payload: smuggling.Payload
) -> None:
    assert wrong(payload.data, nginx) == []


def test_mutations_of_the_payloads_are_read_as_nginx_reads_them_or_refused(nginx: NginxWitness) -> None:
    originals = [payload.data for payload in smuggling.REQUESTS]
    assert [one for data in mutants(4, 1500, originals) for one in wrong(data, nginx)] == []
