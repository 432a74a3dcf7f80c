"""Maps that are full: an error that names what ran out, and what ran before goes on running."""

from __future__ import annotations

import pytest
from connect_peers import Site

from ebpfmesh.errors import CapacityError
from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Capacity, Service

pytestmark = pytest.mark.kernel

WEB = "10.96.0.1:80"
CAPACITY = Capacity(services=2, addresses=3, backends=6, slots=16)


def unreached(count: int) -> tuple[str, ...]:
    return tuple(f"127.1.{number // 250}.{number % 250 + 1}:9" for number in range(count))


def addresses(count: int) -> tuple[str, ...]:
    return tuple(f"10.97.{number // 250}.{number % 250 + 1}:80" for number in range(count))


@pytest.fixture
def web(site: Site) -> Service:
    return Service("web", "tcp", (WEB,), tuple(site.servers.many(2)))


@pytest.fixture
def mesh(site: Site, web: Service) -> Mesh:
    return site.mesh(web, capacity=CAPACITY)


def works(site: Site, mesh: Mesh, web: Service) -> None:
    """The service that ran answers, and nothing else is there."""
    assert set(site.backends_of(WEB, 4)) == {one.address for one in web.backends}
    assert [one.name for one in mesh.status().services] == ["web"]
    assert mesh.config.services == (web,)
    counts = {name: mesh.connect.objects.maps[name].count() for name in ("addresses", "backends", "services")}
    assert counts == {"addresses": 1, "backends": 2, "services": 1}


TOO_MUCH = {
    "addresses": [Service("big", "tcp", addresses(3), unreached(1))],
    "backends": [Service("big", "tcp", addresses(1), unreached(5))],
    "slots": [Service("big", "tcp", addresses(1), unreached(2), balance="maglev")],  # type: ignore[arg-type]
    "services": [
        Service(f"big-{number}", "tcp", addresses(2)[number : number + 1], unreached(1))
        for number in range(2)
    ],
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_an_apply_beyond_a_given_capacity_says_which(site: Site, mesh: Mesh, web: Service, what: str) -> None:
    with pytest.raises(CapacityError, match=what):
        mesh.apply(site.config(web, *TOO_MUCH[what], capacity=CAPACITY))
    works(site, mesh, web)


@pytest.mark.parametrize("what", [what for what in TOO_MUCH if what != "services"])
def test_a_put_beyond_a_capacity_says_which(site: Site, mesh: Mesh, web: Service, what: str) -> None:
    for _ in range(3):  # a refused change takes nothing, however often it is tried
        with pytest.raises(CapacityError, match=what):
            mesh.put(TOO_MUCH[what][0])
        works(site, mesh, web)
    small = Service("small", "tcp", addresses(2), unreached(4))
    mesh.put(small)
    assert {one.name for one in mesh.status().services} == {"web", "small"}


def test_one_service_too_many_is_refused_until_another_goes(site: Site, mesh: Mesh, web: Service) -> None:
    first, second = TOO_MUCH["services"]
    mesh.put(first)
    with pytest.raises(CapacityError, match="services"):
        mesh.put(second)
    mesh.remove(first.name)
    mesh.put(second)  # the room of what was removed is found without being told
    assert {one.name for one in mesh.status().services} == {"web", second.name}
    mesh.remove(second.name)
    mesh.collect()
    works(site, mesh, web)


def test_a_change_that_needs_old_and_new_at_once_finds_room_or_says_so(site: Site) -> None:
    old, new = site.servers.many(2), site.servers.many(2)
    mesh = site.mesh(Service("web", "tcp", (WEB,), tuple(old)), capacity=Capacity(backends=4))
    for number in range(6):
        wanted = (new, old)[number % 2]
        mesh.put(Service("web", "tcp", (WEB,), tuple(wanted)))
        assert set(site.backends_of(WEB, 4)) == set(wanted)
    held = [site.connect(WEB) for _ in range(2)]
    mesh.put(Service("web", "tcp", (WEB,), tuple(new)))
    with pytest.raises(
        CapacityError, match="backends"
    ):  # the old ones have connections: their numbers are taken
        mesh.put(Service("web", "tcp", (WEB,), (*new, *site.servers.many(1))))
    assert set(site.backends_of(WEB, 4)) == set(new)
    for one in held:
        one.close()


def test_beyond_a_derived_capacity_the_running_mesh_is_full_too(site: Site, web: Service) -> None:
    mesh = site.mesh(web)
    for big, what in (
        (Service("big", "tcp", addresses(1), unreached(4200)), "backends"),
        (Service("big", "tcp", addresses(600), unreached(1)), "addresses"),
    ):
        with pytest.raises(CapacityError, match=what):
            mesh.put(big)
        with pytest.raises(CapacityError, match=what):
            mesh.apply(site.config(web, big))
        works(site, mesh, web)


def test_a_successor_that_needs_more_than_the_pinned_maps_hold_leaves_them_running(
    site: Site, web: Service
) -> None:
    first = Mesh(site.config(web), run_root=site.run_root, bpffs=site.bpffs).start()
    first.close(keep=True)
    big = Service("big", "tcp", addresses(1), unreached(4200))
    with pytest.raises(CapacityError, match="backends"):
        Mesh(site.config(web, big), run_root=site.run_root, bpffs=site.bpffs).start()
    assert set(site.backends_of(WEB, 4)) == {one.address for one in web.backends}
    works(site, site.mesh(web), web)


def test_the_memory_budget_holds_at_start_and_at_an_apply(site: Site, web: Service) -> None:
    with pytest.raises(CapacityError, match=r"\$\.memory_budget"):
        site.mesh(web, memory_budget="1MiB")
    with pytest.raises(OSError, match="unreachable"):
        site.backend_of(WEB)
    mesh = site.mesh(web, memory_budget="16MiB")
    many = [
        Service(f"s{number}", "tcp", (address,), unreached(20))
        for number, address in enumerate(addresses(3000))
    ]
    with pytest.raises(CapacityError, match=r"memory_budget|backends"):
        mesh.apply(site.config(web, *many, memory_budget="16MiB"))
    works(site, mesh, web)
