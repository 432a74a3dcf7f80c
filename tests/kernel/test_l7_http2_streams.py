"""HTTP/2 in the kernel: one stream is refused, its neighbours are not touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from l7_http2_site import Http2Site

from ebpfmesh.policy import Rule
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel(feature="loop")

DENY = (Rule("no", action="deny", paths=("/no/**",)),)


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Http2Site]:
    with Http2Site(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def test_an_allowed_request_is_answered_by_the_server(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    got = client.get("/yes")
    assert (got.status, got.body) == (200, b"/yes")
    assert site.h2.paths == ["/yes"]


def test_a_denied_request_never_reaches_the_server(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes/1").status == 200
    got = client.get("/no/1")
    assert got.status == 403
    assert client.get("/yes/2").status == 200
    assert site.h2.paths == ["/yes/1", "/yes/2"]
    assert not site.h2.errors
