"""Changes while a mesh runs: a file that is followed, several threads, and interrupts in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from lifecycle import Place, web

from ebpfmesh.errors import ConfigError
from ebpfmesh.mesh import Changed, Mesh, Refused
from ebpfmesh.testing import NetNs, PrivateCgroup
from ebpfmesh.tiers.connect.tables import Tables

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def test_a_followed_file_is_applied_under_load_and_a_broken_one_changes_nothing(place: Place) -> None:
    agent = place.agent(place.config(web(8001, 8002)))
    client = place.client()
    with client.unharmed():
        place.write(place.config(web(8003, 8004)))
        agent.wait_for("applied")
        assert set(client.settled().by_port) == {8003, 8004}
        place.file.write_text(place.file.read_text() + '[[services]]\nname = "half')
        assert "mesh.toml:" in agent.wait_for("refused, what ran before keeps running")
        assert set(client.settled().by_port) == {8003, 8004}
        place.write(place.config(web(8005), web(8005, name="twin")))  # one address, two services
        assert "10.96.0.10:80" in agent.wait_for("refused")
        place.file.unlink()
        agent.wait_for("refused")
        assert set(client.settled().by_port) == {8003, 8004}
        place.write(place.config(web(8005)))
        agent.wait_for("applied")
        assert set(client.settled().by_port) == {8005}
    assert agent.end() == 0
    assert place.left() == []


def test_watch_yields_what_was_changed_and_what_was_refused(place: Place) -> None:
    async def scenario(mesh: Mesh) -> None:
        async with aclosing(mesh.watch(place.file)) as events:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.5)
            assert not waiting.done(), "the file is what runs already"
            place.write(place.config(web(8003)))
            assert isinstance(await asyncio.wait_for(waiting, 10), Changed)
            place.file.write_text("nonsense")
            assert isinstance(await asyncio.wait_for(anext(events), 10), Refused)
            place.write(place.config(web(8003), name="another"))
            refused = await asyncio.wait_for(anext(events), 10)
            assert isinstance(refused, Refused)
            assert "$.name" in str(refused.error)

    place.write(place.config())
    with place.mesh() as mesh:
        asyncio.run(scenario(mesh))
        assert place.reached() == 8003


def test_a_backend_that_left_is_collected_while_the_file_is_followed(place: Place) -> None:
    async def scenario(mesh: Mesh) -> None:
        async with aclosing(mesh.watch(place.file)) as events:  # type: ignore[type-var]
            place.write(place.config(web(8002)))
            await asyncio.wait_for(anext(events), 10)
            with place.connect() as held:
                assert held.recv(64) == b"8002"
                place.write(place.config(web(8003)))
                await asyncio.wait_for(anext(events), 10)
                waiting = asyncio.ensure_future(anext(events))
                await asyncio.sleep(1.5)
                addresses = [one.address for one in mesh.status().services[0].backends]
                assert addresses == ["127.0.0.1:8002", "127.0.0.1:8003"]
            deadline = time.monotonic() + 5
            while len(mesh.status().services[0].backends) > 1 and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        assert [one.address for one in mesh.status().services[0].backends] == ["127.0.0.1:8003"]

    place.write(place.config(web(8001)))
    with place.mesh(place.config(web(8001))) as mesh:
        asyncio.run(scenario(mesh))


def test_several_threads_may_change_and_look_at_once(place: Place) -> None:
    mesh = place.mesh(place.config(web(8001, 8002))).start()
    client = place.client()
    errors: list[BaseException] = []
    stop = threading.Event()

    def again(action: object) -> None:
        try:
            while not stop.is_set():
                action()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    def change() -> None:
        for ports in ((8003, 8004), (8001, 8002)):
            mesh.put(web(*ports))

    def add_and_remove() -> None:
        name = f"s{threading.get_ident()}"
        mesh.put(web(8005, name=name, address=f"10.97.{threading.get_native_id() % 250}.1:80"))
        mesh.remove(name)

    actions = [change, change, add_and_remove, add_and_remove, mesh.status, mesh.collect]
    threads = [threading.Thread(target=again, args=(action,)) for action in actions]
    with client.unharmed():
        for thread in threads:
            thread.start()
        client.more(800)
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    mesh.apply(place.config(web(8006)))
    mesh.collect()
    assert [service.name for service in mesh.status().services] == ["web"]
    assert set(client.settled().by_port) == {8006}


def test_a_close_while_other_threads_use_the_mesh_ends_their_calls_with_one_clear_error(
    place: Place,
) -> None:
    from ebpfmesh.errors import ClosedError

    mesh = place.mesh().start()
    seen: list[BaseException] = []

    def use(action: object) -> None:
        try:
            while True:
                action()  # type: ignore[operator]
        except BaseException as error:
            seen.append(error)

    actions = [mesh.status, mesh.collect, lambda: mesh.put(web(8003)), lambda: mesh.apply(place.config())]
    threads = [threading.Thread(target=use, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    mesh.close()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in seen] == [ClosedError] * len(actions)
    assert place.left() == []


# --- interrupts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [1, 4, 8, 12, 14])
def test_ctrl_c_in_the_middle_of_an_apply_leaves_all_of_it_and_a_mesh_that_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    mesh = place.mesh(place.config(web(8001, 8002), web(8001, name="other", address="10.96.0.11:80"))).start()
    client = place.client()
    after = place.config(
        web(8003, 8004),
        web(8003, name="other", address="10.96.0.11:80"),
        web(8005, name="n", address="10.96.0.12:80"),
    )
    with client.unharmed():
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            _interrupt_at(patched, write)
            mesh.apply(after)
        assert set(client.settled().by_port) == {8003, 8004}
        assert place.reached(("10.96.0.11", 80)) == 8003
        assert mesh.apply(after).empty, "the mesh knows that the change was made"
        mesh.apply(place.config(web(8006)))
        assert set(client.settled().by_port) == {8006}


@pytest.mark.parametrize("write", [1, 4])
def test_ctrl_c_in_the_middle_of_a_start_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        _interrupt_at(patched, write)
        with place.mesh():
            pytest.fail("it goes on")
    assert place.left() == []
    assert place.attached() == {}


def test_ctrl_c_in_the_body_stops_the_mesh(place: Place) -> None:
    with pytest.raises(KeyboardInterrupt), place.mesh():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert place.left() == []


def test_ctrl_c_during_the_applies_of_a_command_ends_it_in_good_order(place: Place) -> None:
    agent = place.agent()
    for number in range(4):
        place.write(place.config(web(8001 + number)))
        time.sleep(0.12)
    assert agent.end(signal.SIGINT) == 0
    assert "Traceback" not in agent.errors()
    assert place.left() == []
    assert place.attached() == {}


def test_two_ctrl_c_do_not_keep_the_mesh_from_cleaning_up(place: Place) -> None:
    agent = place.agent()
    for _ in range(5):
        agent.process.send_signal(signal.SIGINT)
    assert agent.process.wait(20) == 0
    assert "Traceback" not in agent.errors()
    assert place.left() == []


def test_a_setting_that_needs_a_restart_is_refused_and_what_ran_goes_on(place: Place) -> None:
    mesh = place.mesh().start()
    with pytest.raises(ConfigError, match="cgroup"):
        mesh.apply(place.config(cgroup=Path("/somewhere")))
    assert place.reached() in (8001, 8002)


def _interrupt_at(patched: pytest.MonkeyPatch, write: int) -> None:
    """SIGINT arrives in that write to the kernel."""
    about, calls = Tables._about, iter(range(1, 1000))

    def interrupted(tables: Tables, what: str) -> None:
        about(tables, what)
        if next(calls) == write:
            os.kill(os.getpid(), signal.SIGINT)

    patched.setattr(Tables, "_about", interrupted)
