"""MPTCP sockets, which the kernel connects through a subflow: balanced as TCP, with the limit that the pages name."""

from __future__ import annotations

import errno
import socket

import pytest
from connect_peers import Site, greeting, idle, split

from documentation import ROOT
from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

_MPTCP = 262  # IPPROTO_MPTCP, which Python names from 3.10 on where the C library does


def _client(site: Site) -> socket.socket:
    try:
        return site.client(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.EINVAL):
            pytest.skip(f"this kernel has no MPTCP: {error.strerror}")
        raise


def test_an_mptcp_socket_is_balanced_and_counted_as_its_subflow_and_shows_the_backend(site: Site) -> None:
    page = " ".join((ROOT / "docs" / "troubleshooting.md").read_text().split())
    assert "so `getpeername()` shows the backend and not the service" in page
    backend = site.servers.tcp()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = f"127.0.0.1:{closed.getsockname()[1]}"
    mesh = site.mesh(
        Service("web", "tcp", ("10.96.0.1:80",), (backend,)),
        Service("down", "tcp", ("10.96.0.2:80",), (refusing,)),
    )
    with _client(site) as one:
        one.connect(("10.96.0.1", 80))
        assert greeting(one) == backend
        assert one.getpeername() == split(backend)
    found = idle(mesh, "web")
    assert (found.opened, found.closed, found.bytes_received) == (1, 1, len(backend) + 1)
    with _client(site) as one, pytest.raises(ConnectionRefusedError):
        one.connect(("10.96.0.2", 80))
    found = idle(mesh, "down")
    assert (found.opened, found.failed) == (0, 1)
