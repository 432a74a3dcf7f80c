"""MPTCP: a socket map takes none of its subflows, and what one of them may not send, another could."""

from __future__ import annotations

import errno
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from l7_bypass import ADDRESS, EVIL, GOOD, OK, RULES, BypassSite

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import eventually, veth_pair

MPTCP = 262  # IPPROTO_MPTCP

pytestmark = [
    pytest.mark.kernel(feature="sockhash"),
    pytest.mark.skipif(not Path("/proc/sys/net/mptcp").exists(), reason="this kernel has no MPTCP"),
]
SITE = BypassSite


def multipath(site: BypassSite) -> socket.socket:
    """A client's socket of MPTCP."""
    with site.cgroup.enter():
        one = site.netns.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    one.settimeout(2)
    return one


def test_mptcp_is_refused_where_what_is_not_judged_is(site):
    site.start()
    with multipath(site) as one, pytest.raises(OSError) as refused:
        one.connect(ADDRESS)
        one.send(EVIL)
        one.recv(1000)
    assert refused.value.errno in (errno.EACCES, errno.EPERM, errno.ECONNABORTED, errno.ETIMEDOUT)
    assert site.witness.everything() == b""
    assert site.counters()["unenrolled"] == 1


def test_mptcp_passes_and_is_counted_where_what_is_not_judged_does(site):
    site.start(unjudged="fail_open")
    with multipath(site) as one:
        one.connect(ADDRESS)
        one.send(GOOD)
        assert one.recv(1000) == OK
    assert eventually(lambda: site.counters()["unenrolled"] == 1)


@pytest.mark.skipif(shutil.which("ip") is None, reason="iproute2 makes the second path")
def test_a_second_path_gets_nothing_past_the_policy(site, netns, netns_b):
    """The server speaks first, so that the connection is complete; the client's kernel joins it from another address."""
    veth_pair(netns, netns_b, "10.99.1.1/24", "10.99.1.2/24")
    device, _ = veth_pair(netns, netns_b, "10.99.2.1/24", "10.99.2.2/24")
    for one in (netns, netns_b):
        one.call(lambda: Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0"))
        made = one.run(["ip", "mptcp", "limits", "set", "subflow", "4"], capture_output=True)
        if made.returncode:
            pytest.skip(f"this iproute2 knows no MPTCP: {made.stderr!r}")
    for words in (
        ["mptcp", "endpoint", "add", "10.99.2.1", "dev", device, "subflow"],
        ["route", "add", "10.99.1.0/24", "via", "10.99.2.2", "src", "10.99.2.1", "table", "7"],
        ["rule", "add", "from", "10.99.2.1", "table", "7"],
    ):
        netns.run(["ip", *words], check=True)
    netns_b.run(["ip", "route", "add", "default", "via", "10.99.1.1"], check=True)
    with netns_b.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        listener.settimeout(1)
        backend = Backend(f"10.99.1.2:{listener.getsockname()[1]}")
        service = Service(
            "web", addresses=(f"{ADDRESS[0]}:80",), backends=(backend,), l7="http1", rules=RULES
        )
        config = Config("multipath", cgroup=str(site.cgroup.path), services=(service,))
        with Mesh(config, run_root=site.root, bpffs=site.bpffs, drain_for=1.0), multipath(site) as one:
            received = b""
            with suppress(OSError):  # refused at connect(), or never answered
                one.connect(ADDRESS)
                server, _ = listener.accept()
                with server:
                    server.settimeout(1)
                    server.send(b"banner")
                    one.recv(10)
                    time.sleep(0.3)
                    one.send(EVIL)
                    received = server.recv(1000)
            assert b"/admin" not in received
