"""SIGKILL and take-over under load: no connection fails, and the next agent goes on where the last one stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle import Place, another_version, web

from ebpfmesh.hooks.link import BpfLink
from ebpfmesh.lowlevel import attach
from ebpfmesh.testing import NetNs, PrivateCgroup
from ebpfmesh.tiers.connect import tier
from ebpfmesh.tiers.connect.attaching import HOOKS, Attaching
from ebpfmesh.tiers.connect.tables import ARRAYS, HASHES, Tables

pytestmark = pytest.mark.kernel

OTHER = ("10.96.0.11", 80)


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def test_a_killed_agent_changes_nothing_for_traffic_and_a_restart_takes_over(place: Place) -> None:
    services = web(8001, 8002), web(8001, 8002, name="names", address="10.96.0.10:53", protocol="udp")
    agent = place.agent(place.config(*services))
    clients = place.client(), place.client(("10.96.0.10", 53), udp=True)
    programs = place.attached()
    with clients[0].unharmed(), clients[1].unharmed():
        agent.kill()
        for client in clients:
            assert set(client.settled().by_port) == {8001, 8002}, "new connections are not balanced any more"
        successor = place.agent(place.config(*services))
        assert place.attached() == programs, "programs were replaced although they are the same"
        clients[0].settled()
    assert successor.end() == 0
    assert place.left() == []


def test_a_take_over_with_a_changed_configuration_moves_traffic_without_a_failure(place: Place) -> None:
    place.agent(place.config(web(8001, 8002))).kill()
    client = place.client()
    with client.unharmed():
        place.agent(
            place.config(web(8003, 8004, balance="maglev"), web(8005, name="new", address="10.96.0.11:80"))
        )
        assert set(client.settled().by_port) <= {8003, 8004}
        assert place.reached(OTHER) == 8005


def test_a_take_over_removes_the_services_that_are_not_configured_any_more(place: Place) -> None:
    place.agent(place.config(web(8001), web(8005, name="old", address="10.96.0.11:80"))).kill()
    client = place.client()
    assert place.reached(OTHER) == 8005
    with client.unharmed():
        mesh = place.mesh(place.config(web(8001))).start()
        assert place.reached(OTHER) is None
        mesh.collect()
        assert [service.name for service in mesh.status().services] == ["web"]


def test_a_take_over_with_the_same_configuration_writes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = place.config(
        web(8001, 8002), web(8003, 8004, name="even", address="10.96.0.11:80", balance="maglev")
    )
    first = place.mesh(config).start()
    before = _contents(first.connect.tables)
    first.close(keep=True)
    writes: list[str] = []
    monkeypatch.setattr(Tables, "_about", lambda _, what: writes.append(what))
    second = place.mesh(config).start()
    assert writes == []
    assert _contents(second.connect.tables) == before
    assert second.apply(config).empty
    assert writes == []


def test_counters_go_on_over_a_take_over(place: Place) -> None:
    first = place.mesh().start()
    for _ in range(6):
        assert place.reached()
    first.close(keep=True)
    assert place.reached()
    second = place.mesh().start()
    assert place.reached()
    assert second.status().services[0].opened == 8


@pytest.mark.parametrize("write", [1, 3, 5, 8, 11, 14])
def test_a_kill_in_the_middle_of_an_apply_leaves_one_of_the_two_configurations(
    place: Place, write: int
) -> None:
    old = place.config(web(8001, 8002), web(8001, name="other", address="10.96.0.11:80"))
    new = place.config(
        web(8003, 8004),
        web(8003, name="other", address="10.96.0.11:80"),
        web(8005, name="new", address="10.96.0.12:80"),
    )
    agent = place.dying_agent(old, new, write)
    client = place.client()
    with client.unharmed():
        assert agent.process.stdin is not None
        agent.process.stdin.write("\n")
        agent.process.stdin.flush()
        assert agent.process.wait(10) == -9, "the apply had fewer writes: choose other numbers"
        seen = set(client.settled().by_port)
        other = place.reached(OTHER)
        assert (seen, other) in (({8001, 8002}, 8001), ({8003, 8004}, 8003))
        place.mesh(new).start()
        assert set(client.settled().by_port) == {8003, 8004}
        assert place.reached(OTHER) == 8003
        assert place.reached(("10.96.0.12", 80)) == 8005


def test_a_kill_in_the_middle_of_an_apply_can_be_followed_by_the_old_configuration(place: Place) -> None:
    old = place.config(web(8001, 8002), web(8001, name="other", address="10.96.0.11:80"))
    new = place.config(web(8003, 8004), web(8003, name="other", address="10.96.0.11:80"))
    agent = place.dying_agent(old, new, 6)
    client = place.client()
    with client.unharmed():
        assert agent.process.stdin is not None
        agent.process.stdin.write("\n")
        agent.process.stdin.flush()
        assert agent.process.wait(10) == -9
        mesh = place.mesh(old).start()
        assert set(client.settled().by_port) == {8001, 8002}
        mesh.apply(new)
        assert set(client.settled().by_port) == {8003, 8004}


def test_an_upgrade_replaces_the_programs_under_load(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.mesh().start()
    links = {name: link.info().id for name, link in first.connect.links.items()}
    programs = place.attached()
    first.close(keep=True)
    newer = tmp_path / "newer.bpf.o"
    newer.write_bytes(another_version(ENOMEM="11", PASS="(1 + 0)"))
    client = place.client()
    with client.unharmed(), monkeypatch.context() as patched:
        patched.setattr(tier, "object_path", lambda: newer)
        second = place.mesh().start()
        assert {name: link.info().id for name, link in second.connect.links.items()} == links, (
            "links were made anew"
        )
        replaced = place.attached()
        assert replaced.keys() == programs.keys()
        assert replaced["CONNECT4"] != programs["CONNECT4"]
        assert [len(there) for there in replaced.values()] == [1] * len(programs)
        client.settled()
        second.close(keep=True)
    with client.unharmed():  # and back
        third = place.mesh().start()
        tags = {name: program.info().tag for name, program in third.connect.objects.programs.items()}
        assert tags  # each link holds this version's program again
        for name, link in third.connect.links.items():
            assert link.info().program_id == third.connect.objects.programs[name].info().id


def test_a_version_with_fewer_programs_removes_the_links_that_it_has_no_use_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mesh().start().close(keep=True)
    client = place.client()
    with client.unharmed(), monkeypatch.context() as patched:
        patched.delitem(HOOKS, "getpeername6")  # type: ignore[arg-type]
        second = place.mesh().start()
        assert "GETPEERNAME6" not in place.attached()
        assert not (place.bpffs / "ebpfmesh/life/links/getpeername6").exists()
        second.close(keep=True)
    with client.unharmed():
        place.mesh().start()
        assert "GETPEERNAME6" in place.attached()


def test_an_upgrade_that_was_killed_in_the_middle_is_completed_or_undone_by_the_next_start(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mesh().start().close(keep=True)
    newer = tmp_path / "newer.bpf.o"
    newer.write_bytes(another_version(ENOMEM="11"))
    update, calls = BpfLink.update, iter(range(100))

    def dying(*arguments: Any) -> None:
        if next(calls) == 9:  # connect6 keeps the old program
            raise RuntimeError("killed here")
        update(*arguments)

    client = place.client()
    with client.unharmed():
        with monkeypatch.context() as patched:
            patched.setattr(tier, "object_path", lambda: newer)
            patched.setattr(BpfLink, "update", dying)
            patched.setattr(Attaching, "take_back", lambda _: None)  # who is killed takes nothing back
            with pytest.raises(RuntimeError):
                place.mesh().start()
        old = place.mesh().start()
        for name, link in old.connect.links.items():
            held = place.attached()[HOOKS[name]]
            assert held == [link.info().program_id]
            assert _tag(held[0]) == old.connect.objects.programs[name].tag, f"{name} is of the other version"


def test_a_kept_data_path_goes_on_without_an_agent_and_is_taken_over(place: Place) -> None:
    mesh = place.mesh().start()
    client = place.client()
    with client.unharmed():
        assert mesh.close(keep=True) == []
        assert set(client.settled().by_port) == {8001, 8002}
        second = place.mesh().start()
    second.close()
    assert place.left() == []


def _tag(program: int) -> str:
    descriptor = attach.open_by_id("prog", program)
    try:
        return next(
            line.split()[1]
            for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
            if line.startswith("prog_tag:")
        )
    finally:
        os.close(descriptor)


def _contents(tables: Tables) -> dict[str, object]:
    """What the configuration maps hold, counters apart."""
    arrays = {name: bytes(tables._mappings[name].buffer) for name in ARRAYS if not name.endswith("_stats")}
    return {**arrays, **{name: dict(tables.elements(name)) for name in HASHES}}
