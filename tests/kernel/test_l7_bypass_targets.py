"""Targets with a "#", which no target has: some servers cut them there, others do not, so that neither reading may pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from l7_bypass import BypassSite

from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel(feature="sockhash")


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[BypassSite]:
    with BypassSite(cgroup, netns, bpffs, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "target",
    [b"/admin#x", b"/public#/../admin", b"/public/#", b"http://a/public#x", b"/a/longer/one/than/a/word#?x"],
)
def test_a_target_with_a_fragment_is_refused(site, target):
    site.start()
    one = site.connect()
    one.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert one.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert site.witness.everything() == b""


@pytest.mark.parametrize("target", [b"/public?a#b", b"/public/%23"])
def test_a_hash_elsewhere_is_no_fragment(site, target):
    site.start()
    one = site.connect()
    one.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
