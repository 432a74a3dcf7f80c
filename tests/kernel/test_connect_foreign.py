"""Other people's programs on the same cgroup run before, with and after the mesh's."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest
from connect_peers import Site, greeting, idle

from ebpfmesh import hooks
from ebpfmesh.mesh import Mesh
from ebpfmesh.objects import Objects
from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

WEB, TO_WEB = "10.96.0.1:80", ("10.96.0.1", 80)

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
const volatile __u16 refused_port;
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");
SEC("cgroup/connect4") int foreign(struct bpf_sock_addr *ctx)
{
	__u32 zero = 0, one = 1;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero), *port = bpf_map_lookup_elem(&seen, &one);

	if (count)
		__sync_fetch_and_add(count, 1);
	if (port)
		*port = bpf_ntohs(ctx->user_port);
	return !refused_port || bpf_ntohs(ctx->user_port) != refused_port;
}
"""


@pytest.fixture
def foreign(load: Callable[..., Objects]):
    """foreign(refused_port=0): somebody else's program, not attached yet."""
    return lambda port=0: load(SOURCE, constants={"refused_port": port})


@pytest.fixture
def web(site: Site) -> Service:
    return Service("web", "tcp", (WEB,), (site.servers.tcp(),))


def attach(site: Site, objects: Objects, mechanism: str):
    return hooks.CONNECT4.attach(objects.programs["foreign"], site.cgroup.path, mechanism=mechanism)


@pytest.mark.parametrize("mechanism", ["link", "legacy"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_foreign_program_runs_beside_the_mesh_and_outlives_it(
    site: Site, foreign, web: Service, when: str, mechanism: str
) -> None:
    objects = foreign()
    seen = objects.maps["seen"]
    if when == "before":
        link = attach(site, objects, mechanism)
    mesh = Mesh(site.config(web), run_root=site.run_root, bpffs=site.bpffs).start()
    try:
        if when == "after":
            link = attach(site, objects, mechanism)
        for number in range(1, 4):
            assert site.backend_of(WEB) == web.backends[0].address
            assert seen[0] == number
        # programs run in the order of attaching: who was there first sees what the client asked for
        assert seen[1] == (80 if when == "before" else int(web.backends[0].address.rpartition(":")[2]))
        mesh.put(Service("web", "tcp", (WEB,), (site.servers.tcp(),)))
        site.backend_of(WEB)
        assert seen[0] == 4
    finally:
        mesh.close()
    assert link.info().attached
    assert site.backend_of(web.backends[0].address)
    assert seen[0] == 5
    link.detach()


def test_what_a_foreign_program_refuses_stays_refused_and_is_no_open_connection(
    site: Site, foreign, web: Service
) -> None:
    backend_port = int(web.backends[0].address.rpartition(":")[2])
    mesh = site.mesh(web)
    with attach(site, foreign(backend_port), "link"):  # after ours: it sees the backend, and refuses it
        with site.client(socket.AF_INET) as one:
            assert one.connect_ex(TO_WEB) == errno.EPERM
        seen = idle(mesh, "web")
        assert (seen.opened, seen.failed, seen.closed) == (0, 1, 0)
    with site.client(socket.AF_INET) as one:
        one.connect(TO_WEB)
        greeting(one)


def test_a_foreign_program_that_refuses_first_hides_the_service(site: Site, foreign, web: Service) -> None:
    with attach(site, foreign(80), "link"):
        mesh = site.mesh(web)
        with site.client(socket.AF_INET) as one:
            assert one.connect_ex(TO_WEB) == errno.EPERM
        seen = idle(mesh, "web")
        assert (seen.opened, seen.active, seen.closed) == (0, 0, 0)


def test_two_meshes_on_one_cgroup_each_have_their_services(site: Site, web: Service) -> None:
    other = Service("other", "tcp", ("10.96.0.2:80",), (site.servers.tcp(),))
    first = site.mesh(web)
    from msgspec.structs import replace

    with Mesh(replace(site.config(other), name="second"), run_root=site.run_root, bpffs=site.bpffs) as second:
        for _ in range(3):
            assert site.backend_of(WEB) == web.backends[0].address
            assert site.backend_of("10.96.0.2:80") == other.backends[0].address
        assert (idle(first, "web").opened, idle(second, "other").opened) == (3, 3)
    assert site.backend_of(WEB) == web.backends[0].address
