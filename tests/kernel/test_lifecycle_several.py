"""Several meshes on one host: two names on one cgroup, nested cgroups, and what happens to an address that both have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle import ADDRESS, Place, web

from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel

OTHER = ("10.96.0.11", 80)


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def test_two_meshes_on_one_cgroup_serve_their_own_addresses_and_end_apart(place: Place) -> None:
    first = place.mesh(place.config(web(8001), name="first")).start()
    client = place.client()
    with client.unharmed():
        second = place.mesh(place.config(web(8002, address="10.96.0.11:80"), name="second")).start()
        assert place.reached(OTHER) == 8002
        assert place.reached(ADDRESS) == 8001
        assert place.left(), "both have pins"
        second.close()
        assert place.reached(OTHER) is None
    first.close()
    assert place.left() == []


def test_of_two_meshes_on_one_cgroup_the_one_that_attached_first_has_an_address_that_both_have(
    place: Place,
) -> None:
    first = place.mesh(place.config(web(8001), name="first")).start()
    client = place.client()
    with client.unharmed():
        second = place.mesh(place.config(web(8002), name="second")).start()
        assert set(client.settled().by_port) == {8001}
        assert second.status().services[0].opened == 0
        assert first.status().services[0].opened > 0
    with place.connect() as connection:
        assert connection.getpeername() == ADDRESS
    with client.unharmed():  # the other one has it as soon as the first is gone
        first.close()
        assert set(client.settled().by_port) == {8002}


def test_a_mesh_whose_backend_is_a_service_of_a_later_one_is_followed_by_it(place: Place) -> None:
    from ebpfmesh.policy.model import Backend, Service

    chained = Service("web", addresses=("10.96.0.10:80",), backends=(Backend("10.96.0.11:80"),))
    first = place.mesh(place.config(chained, name="first")).start()
    second = place.mesh(place.config(web(8002, address="10.96.0.11:80"), name="second")).start()
    assert place.reached() == 8002
    assert first.status().services[0].opened == second.status().services[0].opened == 1


def test_of_nested_cgroups_the_inner_mesh_has_an_address_that_both_have(place: Place) -> None:
    inner = place.cgroup.child("inner")
    try:
        outer_mesh = place.mesh(place.config(web(8001), name="outer")).start()
        assert place.reached(cgroup=inner) == 8001, "the outer mesh serves the cgroups below"
        inner_mesh = place.mesh(place.config(web(8002), name="inner", cgroup=inner.path)).start()
        assert place.reached(cgroup=inner) == 8002
        assert place.reached() == 8001
        outer_mesh.close()
        assert place.reached(cgroup=inner) == 8002
        assert place.reached() is None
        outer_mesh = place.mesh(place.config(web(8001), name="outer")).start()
        assert place.reached(cgroup=inner) == 8002, "whichever started first"
        inner_mesh.close()
        assert place.reached(cgroup=inner) == 8001
    finally:
        inner.remove()


def test_a_refusal_of_either_mesh_stands(place: Place) -> None:
    place.mesh(place.config(web(name="none"), name="first")).start()
    place.mesh(place.config(web(8002), name="second")).start()
    with pytest.raises(ConnectionRefusedError):
        place.connect()


def test_meshes_of_two_run_roots_do_not_meet(place: Place, tmp_path: Path) -> None:
    from ebpfmesh.mesh import Mesh
    from ebpfmesh.testing import private_bpffs

    with (
        private_bpffs() as other,
        place.mesh(),
        Mesh(place.config(web(8003, address="10.96.0.11:80")), run_root=tmp_path / "other", bpffs=other),
    ):
        assert place.reached() in (8001, 8002)
        assert place.reached(OTHER) == 8003
