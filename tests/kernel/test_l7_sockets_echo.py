"""Every way to send, of every size, over every path, in every style of waiting: what an enrolled socket sends comes back.

And no differently from what an ordinary socket sees. The object redirects each message to its own socket, as the L7 tier
does with what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from l7_peers import pattern
from l7_sockets import FAMILIES, PATHS, SIZES, Place
from l7_ways import STYLES, WAYS, Result, ZeroCopy

pytestmark = pytest.mark.kernel(feature="sockhash")

DATA = {size: pattern(size) for size in SIZES}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


def exchange(place: Place, case: tuple[str, str, str, str], enrolled: bool) -> list[Result]:
    """All sizes, one after the other, on one connection; what the client saw of each."""
    path, family, style, way = case
    seen = []
    with place.client("echo", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
        for size in SIZES:
            with WAYS[way](DATA[size]) as giving:
                seen.append(STYLES[style](one, giving, size))
                if isinstance(giving, ZeroCopy):
                    assert giving.all_given_back(one)
            if seen[-1].error or seen[-1].ended:
                break
    return seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_sent_comes_back(place, path, family, style, way):
    place.says()
    runs, failures = place.site.count("runs_sent"), place.site.count("failures")
    seen = exchange(place, (path, family, style, way), enrolled=True)
    assert place.site.count("runs_sent") > runs
    assert place.site.count("failures") == failures
    for size, result in zip(SIZES, seen, strict=True):
        assert (result.error, result.ended, len(result.received)) == (0, False, size)
        assert result.received == DATA[size]
    assert seen == exchange(place, (path, family, style, way), enrolled=False)
