"""What dig and a real server say to each other, over UDP and TCP, recorded and decoded."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ebpfmesh import l7
from ebpfmesh.l7.dns import Query, Response

LOOPBACK = "127.0.0.1"
LONG = ["x" * 200] * 12


def _free_port() -> int:
    with socket.socket() as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind((LOOPBACK, 0))
        other.bind(one.getsockname())
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a dnsmasq on loopback that knows a few names."""
    program = shutil.which("dnsmasq") or shutil.which("/usr/sbin/dnsmasq")
    if program is None or shutil.which("dig") is None:
        pytest.skip("no dnsmasq, or no dig: apt-get install dnsmasq-base bind9-dnsutils")
    port = _free_port()
    process = subprocess.Popen(
        [
            program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
            f"--port={port}", f"--listen-address={LOOPBACK}", "--user=", "--group=", "--pid-file=",
            "--local=/example/", "--address=/www.example/192.0.2.1", "--address=/www.example/2001:db8::1",
            "--cname=alias.example,www.example", "--host-record=www.example,192.0.2.1",
            f"--txt-record=long.example,{','.join(LONG)}", "--mx-host=example,mail.example,10", "--edns-packet-max=1232",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection((LOOPBACK, port), 0.1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def _datagrams(server: int, found: list[tuple[int, bytes]]) -> Iterator[int]:
    """The port of a relay of datagrams, which it keeps."""
    with socket.socket(type=socket.SOCK_DGRAM) as front, socket.socket(type=socket.SOCK_DGRAM) as back:
        front.bind((LOOPBACK, 0))
        back.connect((LOOPBACK, server))
        back.settimeout(5)
        front.settimeout(5)

        def run() -> None:
            while True:
                query, client = front.recvfrom(65536)
                if not query:
                    return
                found.append((l7.REQUEST, query))
                back.send(query)
                found.append((l7.RESPONSE, back.recv(65536)))
                front.sendto(found[-1][1], client)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(front.getsockname()[1])
        finally:
            with socket.socket(type=socket.SOCK_DGRAM) as last:
                last.sendto(b"", front.getsockname())
            thread.join(20)


def _dig(port: int, *words: str) -> str:
    command = ["dig", f"@{LOOPBACK}", "-p", str(port), "+tries=1", "+time=4", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


QUESTIONS = [
    ("WwW.example A", "www.example", 1, 0),
    ("www.example AAAA +noedns", "www.example", 28, 0),
    ("alias.example A +nocookie", "alias.example", 1, 0),
    ("example MX +bufsize=4000 +dnssec", "example", 15, 0),
    ("missing.example TXT", "missing.example", 16, 3),
    ("long.example TXT +ignore", "long.example", 16, 0),
    (". NS", ".", 2, 5),
    ("-x 192.0.2.1", "1.2.0.192.in-addr.arpa", 12, 0),
]


@pytest.mark.parametrize(("words", "name", "kind", "rcode"), QUESTIONS)
def test_datagrams_of_dig_are_decoded(server: int, words: str, name: str, kind: int, rcode: int) -> None:
    found: list[tuple[int, bytes]] = []
    with _datagrams(server, found) as port:
        said = _dig(port, *words.split())
    connection = l7.parser("dns").connection()
    query, _, response, _ = [event for direction, data in found for event in connection.feed(direction, data)]
    assert isinstance(query, Query)
    assert isinstance(response, Response)
    assert (
        (query.name, query.type, query.class_)
        == (response.name, response.type, response.class_)
        == (name, kind, 1)
    )
    assert query.stream == response.stream
    assert f"id: {query.stream}\n" in said
    assert response.rcode == rcode
    counts = (response.questions, response.answers, response.authorities, response.additionals)
    assert "QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}".format(*counts) in said
    assert (query.edns_size is None) == ("+noedns" in words)
    if "+bufsize" in words:
        assert (query.edns_size, query.edns_flags) == (4000, 0x8000)


def test_a_stream_of_dig_is_decoded_at_every_split_point(server: int) -> None:
    sides: dict[int, bytes] = {l7.REQUEST: b"", l7.RESPONSE: b""}
    with socket.create_server((LOOPBACK, 0)) as listener:

        def run() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection((LOOPBACK, server)) as back:
                client.settimeout(5)
                back.settimeout(5)
                while query := client.recv(65536):
                    sides[l7.REQUEST] += query
                    back.sendall(query)
                    answer = back.recv(65536)
                    while len(answer) < 2 or len(answer) < 2 + int.from_bytes(answer[:2], "big"):
                        answer += back.recv(65536)
                    sides[l7.RESPONSE] += answer
                    client.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        _dig(
            listener.getsockname()[1],
            "+tcp",
            "+keepopen",
            "long.example",
            "TXT",
            "www.example",
            "A",
            "+tcp",
            "+keepopen",
        )
        thread.join(20)
    assert len(sides[l7.RESPONSE]) > 2400
    for side, wanted in ((l7.REQUEST, Query), (l7.RESPONSE, Response)):
        data = sides[side]
        for at in range(1, len(data), 7):
            connection = l7.parser("dns-tcp").connection()
            events = [
                *connection.feed(side, data[:at]),
                *connection.feed(side, data[at:]),
                *connection.end(side),
            ]
            messages = [event for event in events if isinstance(event, wanted)]
            assert [event.name for event in messages] == ["long.example", "www.example"]


def test_a_recorded_datagram_is_decoded_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ebpfmesh.cli.main import main

    recording = tmp_path / "datagram"
    recording.write_bytes(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01")
    assert main(["decode", "--udp", "--port", "53", "--json", str(recording)]) == 0
    assert '"name":"www.example"' in capsys.readouterr().out.replace(" ", "")
