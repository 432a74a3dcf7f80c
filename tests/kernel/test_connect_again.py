"""TCP sockets that connect more than once, as clients do that retry without a new socket."""

from __future__ import annotations

import errno
import socket

import pytest
from connect_peers import Site, disconnect, greeting, service_status

from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

V6 = "fd00::1"
ANY_BALANCER = ["round-robin", "random", "weighted-random", "weighted-round-robin", "maglev", "maglev-sticky"]


@pytest.mark.parametrize("balancer", ANY_BALANCER)
def test_a_dual_stack_socket_that_was_turned_to_ipv4_stays_there(site: Site, balancer: str) -> None:
    """The kernel keeps such a socket's IPv4 operations: a later connect() to an IPv6 backend would hang."""
    backends = (*site.servers.many(2), *site.servers.many(2, family=6))
    service = Service("web", "tcp", (f"[{V6}]:80",), backends, balance=balancer)  # type: ignore[arg-type]
    mesh = site.mesh(service)
    for _ in range(4):
        one = site.client(socket.AF_INET6)
        reached = []
        for _ in range(5):
            one.connect((V6, 80))
            reached.append(greeting(one))
            assert one.getpeername()[:2] == (V6, 80)
            disconnect(one)
        turned = [backend.startswith("127") for backend in reached]
        assert turned == sorted(turned), "from the first IPv4 backend on there is no IPv6 one"
    assert service_status(mesh, "web").refused == 0


def test_a_retry_after_a_refused_connect_reaches_what_the_socket_can(site: Site) -> None:
    with site.netns.socket(socket.AF_INET) as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
        mesh = site.mesh(Service("web", "tcp", (f"[{V6}]:80",), (dead, site.servers.tcp(family=6))))
        one = site.client(socket.AF_INET6)
        one.setblocking(True)  # otherwise the kernel says ECONNABORTED in between
        errors = [one.connect_ex((V6, 80)) for _ in range(4)]
        assert errors == [errno.ECONNREFUSED] * 4, "at once, and never a connection that is not answered"
        mesh.put(
            Service("web", "tcp", (f"[{V6}]:80",), (site.servers.tcp(family=6),), no_backend="EHOSTUNREACH")
        )
        assert one.connect_ex((V6, 80)) == errno.EHOSTUNREACH, "none is left that this socket could reach"
        assert site.backend_of(f"[{V6}]:80").startswith("["), "a new one can"
