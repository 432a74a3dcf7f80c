"""One mesh used from several threads: changes, looks and collections at once, and every one of them whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from connect_peers import Site

from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

THREADS, ROUNDS = 4, 40


def test_threads_change_look_and_collect_at_once(site: Site) -> None:
    names = site.servers.many(THREADS + 1)
    mesh = site.mesh()
    failed: list[BaseException] = []
    done = threading.Event()

    def model(number: int, turn: int) -> Service:
        chosen = (names[number], names[(number + 1 + turn % THREADS) % len(names)])
        return Service(f"svc{number}", "tcp", (f"10.96.0.{number + 1}:80",), chosen)

    def changing(number: int) -> None:
        for turn in range(ROUNDS):
            mesh.put(model(number, turn))
            if turn % 5 == 4:
                mesh.remove(f"svc{number}")
        mesh.put(model(number, 0))

    def looking() -> None:
        while not done.is_set():
            for service in mesh.status().services:
                assert len([one for one in service.backends if not one.leaving]) in (0, 2), service
            mesh.collect()

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    looker = run(looking)
    changers = [run(lambda number=number: changing(number)) for number in range(THREADS)]  # type: ignore[misc]
    for thread in changers:
        thread.join()
    done.set()
    looker.join()
    assert not failed
    while mesh.collect():
        pass
    for number in range(THREADS):
        wanted = {one.address for one in model(number, 0).backends}
        assert set(site.backends_of(f"10.96.0.{number + 1}:80", 4)) == wanted
    maps = mesh.connect.objects.maps
    assert [maps[name].count() for name in ("addresses", "services", "backends")] == [
        THREADS,
        THREADS,
        2 * THREADS,
    ]
