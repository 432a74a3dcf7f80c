"""An agent that dies at any write of an apply, on real maps: connections see the old or the new."""

from __future__ import annotations

import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator

import pytest
from connect_peers import Site, greeting, split

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Service
from ebpfmesh.tiers.connect.tables import Tables

pytestmark = pytest.mark.kernel

KILLED = 99
MOST_WRITES = 60


@pytest.fixture
def models(site: Site) -> tuple[list[Service], list[Service]]:
    """The model before and after: a service changes, one goes, one comes, and an address moves."""
    one, two, three, four = site.servers.many(4)
    old = [
        Service("changes", "tcp", ("10.96.0.1:80", "10.96.0.2:80"), (one, two)),
        Service("goes", "tcp", ("10.96.0.3:80",), (one,)),
        Service("loses", "tcp", ("10.96.0.4:80", "10.96.0.5:80"), (two,)),
    ]
    new = [
        Service("changes", "tcp", ("10.96.0.1:80", "10.96.0.2:80"), (three, four), balance="maglev"),
        Service("loses", "tcp", ("10.96.0.4:80",), (three,)),
        Service("gains", "tcp", ("10.96.0.5:80", "10.96.0.6:80"), (four,)),
    ]
    return old, new


HOSTS = [f"10.96.0.{number}:80" for number in range(1, 7)]


def view(model: list[Service]) -> dict[str, set[str]]:
    """What connections to each address may reach; an address that is nobody's is missing."""
    return {
        address: {one.address for one in service.backends}
        for service in model
        for address in service.addresses
    }


def reached(site: Site) -> dict[str, set[str]]:
    """What connections to each address do reach."""

    def go() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for address in HOSTS:
            for _ in range(4):
                with socket.socket() as one:
                    one.settimeout(10)
                    try:
                        one.connect(split(address))
                    except OSError as error:
                        assert "unreachable" in str(error), f"{address}: {error}"
                        continue
                    found.setdefault(address, set()).add(greeting(one))
        return found

    return site.call(go)


def consistent(seen: dict[str, set[str]], allowed: dict[str, set[str]]) -> bool:
    return seen.keys() == allowed.keys() and all(seen[address] <= allowed[address] for address in seen)


def in_child(work: Callable[[], None]) -> int:
    """The exit status of ``work`` in a forked process, which shares nothing but the kernel's objects."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # 3.12: the servers' thread is not in the child, nor needed
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """killing(n): from now on the process dies right before its n-th write."""

    def arm(at: int) -> None:
        writes: Iterator[int] = iter(range(1, 1 << 30))

        def about(self: Tables, what: str) -> None:
            if next(writes) == at:
                os._exit(KILLED)

        monkeypatch.setattr(Tables, "_about", about)

    return arm


def start(site: Site, model: list[Service]) -> Mesh:
    return Mesh(site.config(*model), run_root=site.run_root, bpffs=site.bpffs).start()


def test_killed_at_any_write_of_an_apply(
    site: Site, models: tuple[list[Service], list[Service]], killing: Callable[[int], None]
) -> None:
    old, new = models
    outcomes = []
    for at in range(1, MOST_WRITES):

        def dies(at: int = at) -> None:
            mesh = start(site, old)
            killing(at)
            mesh.apply(site.config(*new))

        status = in_child(dies)
        assert status in (0, KILLED)
        seen = reached(site)
        is_old, is_new = consistent(seen, view(old)), consistent(seen, view(new))
        assert is_old or is_new, f"mixed before write {at}: {seen}"
        outcomes.append("new" if is_new else "old")

        successor = start(site, new)
        try:
            assert consistent(reached(site), view(new)), f"the successor before write {at}"
            while successor.collect():
                pass
            counts = {
                name: successor.connect.objects.maps[name].count()
                for name in ("addresses", "backends", "services")
            }
            assert counts == {"addresses": 5, "backends": 4, "services": 3}, f"left over before write {at}"
        finally:
            successor.close()
        if status == 0:
            break
    else:
        pytest.fail(f"more than {MOST_WRITES} writes")
    assert outcomes.count("old") > 5
    assert outcomes == sorted(outcomes, reverse=True), "from one write on it is the new model"


def test_killed_at_any_write_of_the_take_over(
    site: Site, models: tuple[list[Service], list[Service]], killing: Callable[[int], None]
) -> None:
    old, new = models
    start(site, old).close(keep=True)
    allowed = [view(old), view(new)]
    for at in range(1, MOST_WRITES):

        def dies(at: int = at) -> None:
            killing(at)
            start(site, new)

        # nobody cleans up in between: each one takes over from the last, wherever that one died
        status = in_child(dies)
        assert status in (0, KILLED)
        seen = reached(site)
        assert any(consistent(seen, one) for one in allowed), f"mixed before write {at}: {seen}"
        if status == 0:
            break
    else:
        pytest.fail(f"more than {MOST_WRITES} writes")
    assert consistent(seen, view(new))
    start(site, new).close()


def test_killed_while_it_collects_what_an_apply_retired(
    site: Site, models: tuple[list[Service], list[Service]], killing: Callable[[int], None]
) -> None:
    old, new = models
    for at in range(1, MOST_WRITES):

        def dies(at: int = at) -> None:
            mesh = start(site, old)
            mesh.apply(site.config(*new))
            killing(at)
            mesh.collect()

        status = in_child(dies)
        assert status in (0, KILLED)
        assert consistent(reached(site), view(new))
        successor = start(site, old)  # what was retired may be asked for again
        try:
            assert consistent(reached(site), view(old)), f"before write {at}"
        finally:
            successor.close()
        if status == 0:
            break
    else:
        pytest.fail(f"more than {MOST_WRITES} writes")
