"""Targets that are to hide something: what is behind a "#", or what had no room beside them."""

from __future__ import annotations

import pytest
from l7_bypass import BypassSite

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = BypassSite


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


@pytest.mark.parametrize(
    ("target", "upgrade"),
    [(b"/public?" + b"a" * 4200, b"h2c"), (b"/public?" + b"a" * 3765, b"websocket, h2c")],
    ids=["nothing of it has room", "its beginning has"],
)
def test_an_upgrade_beside_a_long_target_is_an_upgrade(site, target, upgrade):
    """The record of a head has room for some 3,700 bytes of text: what is not there may still be in the head."""
    site.start()
    for length in range(len(target) - 20, len(target) + 1):  # so that the cut falls behind "websocket" once
        one = site.connect()
        head = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n"
        one.sendall(head % (target[:length], upgrade))
        assert one.recv(1000).startswith(b"HTTP/1.1 400 ")
        one.close()
    assert site.witness.everything().strip(b"|") == b""
