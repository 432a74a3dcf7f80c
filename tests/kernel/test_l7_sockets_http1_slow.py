"""HTTP/1 through the tier where nothing goes smoothly: full buffers in the middle of heads and bodies, servers that die."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator

import pytest
from l7_peers import OK, SMALL, chunked, pattern
from l7_sockets import FAMILIES, PATHS, MeshPlace
from l7_ways import STYLES, WAYS, Way
from test_l7_sockets_http1 import HOST, RULES, exchanges

pytestmark = pytest.mark.kernel(feature="sockhash")

EXCHANGES = [exchange for size in (1, 3000, 20_000) for exchange in exchanges(size)]
# many requests at once, with bodies and long heads: wherever a push stops, it is in the middle of something
PAD = b"X-Pad: " + b"p" * 1500 + b"\r\n"
PIPELINE = [
    (
        b"POST /echo HTTP/1.1\r\n" + HOST + PAD + b"Content-Length: %d\r\n\r\n" % size + pattern(size),
        OK + b"Content-Length: %d\r\n\r\n" % size + pattern(size),
    )
    for size in (0, 1, 700, 4096, 5, 9000, 0, 2, 1500, 0)
]
CHUNKS = [
    (
        b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(pattern(size)),
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(pattern(size)),
    )
    for size in (10, 5000, 0, 30_000)
]


@pytest.fixture(scope="module")
def place() -> Iterator[MeshPlace]:
    with MeshPlace("slow_http", rules=RULES) as made:
        yield made


@pytest.fixture(scope="module")
def dying() -> Iterator[MeshPlace]:
    with MeshPlace("dying_http", rules=RULES) as made:
        yield made


def no_faults(place: MeshPlace, path: str, family: int, before: Counter[str]) -> bool:
    counted = place.counters(path, family) - before
    return not {"out_of_step", "responses_lost", "look_ups_failed", "not_filled", "unjudged_packets"} & set(
        counted
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("path", "family"), [("loopback", "IPv4"), ("veth", "IPv6")])
def test_full_buffers_lose_nothing(place, path, family, style, way):
    before = place.counters(path, FAMILIES[family])
    with place.client(path=path, family=FAMILIES[family], send_buffer=SMALL) as one:
        for request, response in EXCHANGES:
            with WAYS[way](request) as giving:
                result = STYLES[style](one, giving, len(response))
            assert (request[:30], result.error, result.ended) == (request[:30], 0, False)
            assert result.received == response
    assert no_faults(place, path, FAMILIES[family], before)


@pytest.mark.parametrize("pipeline", [PIPELINE, CHUNKS], ids=["counted", "chunked"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", STYLES)
def test_a_pipeline_is_cut_anywhere(place, style, way, pipeline):
    data = b"".join(request for request, _ in pipeline)
    wanted = b"".join(response for _, response in pipeline)
    before = place.counters()
    with place.client(send_buffer=SMALL) as one, WAYS[way](data) as giving:
        result = STYLES[style](one, giving, len(wanted))
    assert (result.error, result.ended, result.received) == (0, False, wanted)
    assert no_faults(place, "loopback", FAMILIES["IPv4"], before)


@pytest.mark.parametrize(("path", "family"), [(path, family) for path in PATHS for family in FAMILIES])
def test_a_server_that_dies_in_the_middle(dying, path, family):
    """The client sees what there was of the response, then an end or an error, soon; the tier lets go of the socket."""
    request, _ = exchanges(1 << 20)[0]
    with dying.client(path=path, family=FAMILIES[family]) as one, Way(request) as giving:
        result = STYLES["nonblocking"](one, giving, 100_000)
    assert (OK + b"Content-Length: 1000\r\n\r\nhalf").startswith(result.received)
    assert result.ended or result.error in (errno.ECONNRESET, errno.EPIPE)
    assert dying.counters(path, FAMILIES[family]).get("open", 0) == 0


def test_a_client_that_leaves_before_the_response(place):
    """Its close() is an RST with data unread; the next connection is none the worse."""
    for _ in range(5):
        with place.client() as one:
            one.sendall(b"GET /bytes/100000 HTTP/1.1\r\n" + HOST + b"\r\n")
            assert one.recv(10) == OK[:10]
    request, response = exchanges(100)[0]
    with place.client() as one, Way(request) as giving:
        assert STYLES["nonblocking"](one, giving, len(response)).received == response
