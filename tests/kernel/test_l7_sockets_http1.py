"""HTTP/1 through the tier: requests and bodies of every size, sent in every way, over every path, in every style.

Uploads and downloads, counted and chunked; what comes back is compared byte for byte, and with a run without the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from l7_peers import OK, chunked, pattern
from l7_sockets import FAMILIES, PATHS, SIZES, MeshPlace
from l7_ways import STYLES, WAYS, Result, ZeroCopy

from ebpfmesh.policy.rule import Rule

pytestmark = pytest.mark.kernel(feature="sockhash")

HOST = b"Host: shop.example\r\n"
RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)


@pytest.fixture(scope="module")
def place() -> Iterator[MeshPlace]:
    with MeshPlace(rules=RULES) as made:
        yield made


@cache
def exchanges(size: int) -> list[tuple[bytes, bytes]]:
    """Requests that carry ``size`` bytes one way, or both, and the responses to them."""
    body = pattern(size)
    counted, pieces = b"Content-Length: %d\r\n\r\n" % size, b"Transfer-Encoding: chunked\r\n\r\n"
    return [
        (b"POST /echo HTTP/1.1\r\n" + HOST + counted + body, OK + counted + body),
        (b"POST /echo HTTP/1.1\r\n" + HOST + pieces + chunked(body), OK + pieces + chunked(body)),
        (b"GET /bytes/%d HTTP/1.1\r\n" % size + HOST + b"\r\n", OK + counted + body),
        (b"GET /chunks/%d HTTP/1.1\r\n" % size + HOST + b"\r\n", OK + pieces + chunked(body)),
    ]


EXCHANGES = [exchange for size in SIZES for exchange in exchanges(size)]


def run(place: MeshPlace, case: tuple[str, str, str, str], meshed: bool) -> list[Result]:
    """All requests, one after the other, on one connection; what the client saw of each."""
    path, family, style, way = case
    seen = []
    with place.client(path=path, family=FAMILIES[family], meshed=meshed) as one:
        for request, response in EXCHANGES:
            with WAYS[way](request) as giving:
                seen.append(STYLES[style](one, giving, len(response)))
                if isinstance(giving, ZeroCopy):
                    assert giving.all_given_back(one)
            if seen[-1].error or seen[-1].ended:
                break
    return seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("path", PATHS)
def test_requests_and_bodies_arrive_as_they_are(place, path, family, style, way):
    before = place.counters(path, FAMILIES[family])
    seen = run(place, (path, family, style, way), meshed=True)
    for (request, response), result in zip(EXCHANGES, seen, strict=False):
        assert (request[:30], result.error, len(result.received)) == (request[:30], 0, len(response))
        assert result.received == response
    assert len(seen) == len(EXCHANGES)
    counted = place.counters(path, FAMILIES[family]) - before
    assert (counted["requests"], counted["allowed"]) == (len(EXCHANGES), len(EXCHANGES))
    assert not {"out_of_step", "responses_lost", "look_ups_failed", "not_filled", "no_scratch"} & set(counted)
    assert seen == run(place, (path, family, style, way), meshed=False)
