"""How connections are spread: each balancer by what it promises, and hash keys that find their backend again."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from connect_peers import Site, greeting, split

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Backend, Balance, Service

pytestmark = pytest.mark.kernel

WEB, TO_WEB = "10.96.0.1:80", ("10.96.0.1", 80)

# Picks are counted with connected UDP sockets that send nothing: thousands take a moment. getpeername() would show the
# service, so the counters say which backend it was.
CHI_SQUARE = {1: 23.9, 2: 27.6, 3: 30.7, 4: 33.4}  # by degrees of freedom, at p = 0.000001


def service(backends: list[Backend], balance: str | Balance, address: str = WEB) -> Service:
    return Service("svc", "udp", (address,), tuple(backends), balance=balance)  # type: ignore[arg-type]


def backends(weights: list[int]) -> list[Backend]:
    return [Backend(f"127.0.0.1:{9000 + number}", weight) for number, weight in enumerate(weights)]


def connect_often(site: Site, count: int) -> None:
    def go() -> None:
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.connect(TO_WEB)

    site.call(go)


def picked(mesh: Mesh) -> list[int]:
    """How many connections each backend got, in the order of the model."""
    found = {one.address: one.opened for one in mesh.status().services[0].backends}
    return [found[address] for address in sorted(found)]


def chi_square(found: list[int], weights: list[int]) -> float:
    expected = [sum(found) * weight / sum(weights) for weight in weights]
    return sum((got - wanted) ** 2 / wanted for got, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 1], [1, 1, 1, 1, 1]])
def test_random_is_even(site: Site, weights: list[int]) -> None:
    mesh = site.mesh(service(backends(weights), "random"))
    connect_often(site, 3000)
    assert sum(picked(mesh)) == 3000
    assert chi_square(picked(mesh), weights) < CHI_SQUARE[len(weights) - 1]


@pytest.mark.parametrize("weights", [[1, 2], [5, 1, 1], [10, 20, 30, 40], [1, 100, 1]])
def test_weighted_random_is_by_weight(site: Site, weights: list[int]) -> None:
    mesh = site.mesh(service(backends(weights), "weighted-random"))
    connect_often(site, 4000)
    assert sum(picked(mesh)) == 4000
    assert chi_square(picked(mesh), weights) < CHI_SQUARE[len(weights) - 1]


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_round_robin_is_exact(site: Site, number: int) -> None:
    mesh = site.mesh(service(backends([1] * number), "round-robin"))
    connect_often(site, 30 * number)
    assert picked(mesh) == [30] * number


def test_round_robin_goes_one_after_the_other(site: Site) -> None:
    names = site.servers.many(3)
    site.mesh(Service("svc", "tcp", (WEB,), tuple(names)))
    reached = site.backends_of(WEB, 9)
    assert reached[:3] == reached[3:6] == reached[6:]
    assert sorted(reached[:3]) == sorted(names)


@pytest.mark.parametrize("weights", [[1, 2], [5, 1, 1], [3, 7, 2, 1]])
def test_weighted_round_robin_is_exact_over_a_cycle_and_spread_within(site: Site, weights: list[int]) -> None:
    mesh = site.mesh(service(backends(weights), "weighted-round-robin"))
    for cycle in range(1, 6):
        connect_often(site, sum(weights))
        assert picked(mesh) == [weight * cycle for weight in weights]


def test_round_robin_is_exact_over_two_processes_together(site: Site) -> None:
    mesh = site.mesh(service(backends([1] * 4), "round-robin"))
    program = "import socket\nfor _ in range(1000):\n  with socket.socket(2, 2) as one: one.connect(('10.96.0.1', 80))\n"
    children = site.call(lambda: [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)])
    assert [child.wait(60) for child in children] == [0, 0]
    assert picked(mesh) == [500] * 4


# --- by hash -----------------------------------------------------------------------------------------------------------


ASK = """
import socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
print(one.makefile().readline().strip())
"""


def ask_from_a_process(site: Site, address: str) -> str:
    host, port = split(address)
    done = site.call(
        lambda: subprocess.run(
            [sys.executable, "-c", ASK, host, str(port)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    )
    return done.stdout.strip()


@pytest.mark.parametrize("balancer", ["maglev", "maglev-sticky"])
def test_a_workload_keeps_its_backend_over_processes_and_agents(site: Site, balancer: str) -> None:
    names = site.servers.many(5)
    model = Service("svc", "tcp", (WEB,), tuple(names), balance=balancer)  # type: ignore[arg-type]
    with Mesh(site.config(model), run_root=site.run_root, bpffs=site.bpffs):
        mine = site.backends_of(WEB, 1)[0]
        assert set(site.backends_of(WEB, 10)) == {mine}
        assert ask_from_a_process(site, WEB) == mine
    # the maps were removed with the first agent; listing the backends in another order changes nothing either
    again = Service("svc", "tcp", (WEB,), tuple(reversed(names)), balance=balancer)  # type: ignore[arg-type]
    with Mesh(site.config(again), run_root=site.run_root, bpffs=site.bpffs) as mesh:
        assert site.backends_of(WEB, 1) == [mine]
        assert ask_from_a_process(site, WEB) == mine
        mesh.put(
            Service("svc", "tcp", (WEB,), tuple(name for name in names if name != mine), balance=balancer)
        )  # type: ignore[arg-type]
        assert site.backends_of(WEB, 1) != [mine]
        mesh.put(model)
        if balancer == "maglev":
            assert site.backends_of(WEB, 1) == [mine], "the table depends on the backends alone"


def test_workloads_are_cgroups_and_namespaces(site: Site) -> None:
    site.mesh(service(backends([1] * 5), Balance("maglev", key="workload")))
    picks = []
    for number in range(12):
        with site.cgroup.child(f"workload-{number}").enter():
            picks.append(one_pick(site))
    assert len(set(picks)) > 1, "twelve workloads do not all share one of five backends, but for once in 10^7"


def one_pick(site: Site) -> str:
    """Which backend a connected UDP socket of this thread's cgroup is turned to: where its datagram would go."""
    one = site.netns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with one:
        site.netns.call(lambda: one.connect(TO_WEB))
        return peer_of(site, one)


def peer_of(site: Site, one: socket.socket) -> str:
    """The real peer, from the kernel's table of UDP sockets: getpeername() shows the service."""
    local = f"{one.getsockname()[1]:04X}"
    lines = site.netns.call(Path("/proc/thread-self/net/udp").read_text).splitlines()
    return next(line.split()[2] for line in lines[1:] if line.split()[1].endswith(f":{local}"))


def tcp_picks(site: Site, prepare: list) -> list[str]:
    picks = []
    for step in prepare:
        one = site.client(socket.AF_INET)
        step(one)
        one.connect(TO_WEB)
        picks.append(greeting(one))
        one.close()
    return picks


def test_marks_decide_where_the_mark_is_hashed(site: Site) -> None:
    site.mesh(
        Service("svc", "tcp", (WEB,), tuple(site.servers.many(5)), balance=Balance("maglev", key="mark"))
    )

    def marked(mark: int):
        return lambda one: one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)

    first = tcp_picks(site, [marked(mark) for mark in range(1, 17)])
    assert first == tcp_picks(site, [marked(mark) for mark in range(1, 17)])
    assert len(set(first)) > 2
    with site.cgroup.child("other").enter():
        from_another_workload = tcp_picks(site, [marked(mark) for mark in range(1, 17)])
    assert from_another_workload == first


def test_source_addresses_decide_where_they_are_hashed(site: Site) -> None:
    site.mesh(
        Service(
            "svc", "tcp", (WEB,), tuple(site.servers.many(5)), balance=Balance("maglev", key="source-address")
        )
    )

    def bound(host: str):
        return lambda one: one.bind((host, 0))

    sources = [f"127.0.1.{number}" for number in range(1, 17)]
    first = tcp_picks(site, [bound(source) for source in sources])
    assert first == tcp_picks(site, [bound(source) for source in sources]), "the source port is not hashed"
    assert len(set(first)) > 2
    unbound = tcp_picks(site, [lambda one: None] * 6)
    assert len(set(unbound)) == 1, "without a source the workload stands in"


def test_destinations_decide_where_they_are_hashed(site: Site) -> None:
    names = site.servers.many(5)
    addresses = tuple(f"10.96.1.{number}:80" for number in range(1, 17))
    site.mesh(Service("svc", "tcp", addresses, tuple(names), balance=Balance("maglev", key="destination")))
    first = [site.backend_of(address) for address in addresses]
    assert len(set(first)) > 2
    assert first == [ask_from_a_process(site, address) for address in addresses[:4]] + first[4:]
    assert first == [site.backend_of(address) for address in addresses]


def test_maglev_over_many_keys_is_even(site: Site) -> None:
    """2,000 marks over five backends: hashing is uniform, the table even."""
    mesh = site.mesh(service(backends([1] * 5), Balance("maglev", key="mark")))

    def go() -> None:
        for mark in range(2000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                one.connect(TO_WEB)

    site.call(go)
    assert sum(picked(mesh)) == 2000
    assert chi_square(picked(mesh), [1] * 5) < CHI_SQUARE[4]


def test_a_kept_table_of_maglev_sticky_moves_only_the_keys_of_who_left(site: Site) -> None:
    names = site.servers.many(5)
    balance = Balance("maglev-sticky", key="mark")
    mesh = site.mesh(Service("svc", "tcp", (WEB,), tuple(names), balance=balance))

    def marked(mark: int):
        return lambda one: one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)

    steps = [marked(mark) for mark in range(60)]
    before = tcp_picks(site, steps)
    mesh.put(Service("svc", "tcp", (WEB,), tuple(names[1:]), balance=balance))
    after = tcp_picks(site, steps)
    assert Counter(old == new for old, new in zip(before, after, strict=True) if old != names[0]).keys() == {
        True
    }
    assert names[0] in before
    assert names[0] not in after
