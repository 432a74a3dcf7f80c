"""Reads a recorded HTTP/1 connection: the bytes of both directions in, typed events out, or the error and where it is.

python examples/read_a_recording.py examples/recorded/shop.requests examples/recorded/shop.responses
"""

from __future__ import annotations

import sys
from pathlib import Path

from ebpfmesh import l7
from ebpfmesh.l7.http1 import Request, Response

connection = l7.parser("http1").connection()


def show(direction: l7.Direction, data: bytes) -> None:
    for event in connection.feed(direction, data):  # the next bytes, in pieces of any size
        match event:
            case Request():
                print(f"request {event.stream}: {event.method} {event.path} to {event.host}")
            case Response():
                print(f"response {event.stream}: {event.status}")
            case l7.Data():
                print(f"  {len(event.data)} bytes of {event.stream}")


if len(sys.argv) != 3:
    sys.exit("usage: python examples/read_a_recording.py REQUESTS RESPONSES (files)")

requests, responses = (Path(name).read_bytes() for name in sys.argv[1:])
try:
    show(l7.REQUEST, requests)
    show(l7.RESPONSE, responses)
    connection.end(l7.REQUEST)
    connection.end(l7.RESPONSE)
except l7.ParseError as error:
    print(f"refused: {error}")
