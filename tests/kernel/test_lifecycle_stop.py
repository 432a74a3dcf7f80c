"""The end of a mesh: nothing is left, open connections go on, and what is not ours is not touched."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lifecycle import Agent, Place, web

from ebpfmesh import hooks, maps
from ebpfmesh.errors import AttachError, ClosedError, HeldError
from ebpfmesh.hooks.cgroup import CgroupHook
from ebpfmesh.layout import U32, U64
from ebpfmesh.lowlevel.libbpf import ffi, lib
from ebpfmesh.objects import Objects
from ebpfmesh.ownership import cleanup
from ebpfmesh.spec import MapType
from ebpfmesh.testing import NetNs, PrivateCgroup, private_cgroup

pytestmark = pytest.mark.kernel

THEIRS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
long runs;
SEC("cgroup/connect4") int theirs(struct bpf_sock_addr *ctx) { __sync_fetch_and_add(&runs, 1); return 1; }
SEC("cgroup/connect4") int legacy(struct bpf_sock_addr *ctx) { return 1; }
SEC("sockops") int their_sockops(struct bpf_sock_ops *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def test_a_stop_leaves_no_link_no_map_no_program_and_a_cgroup_that_can_be_removed(
    place: Place, tmp_path: Path
) -> None:
    with private_cgroup() as own:
        mesh = place.mesh(place.config(cgroup=own.path)).start()
        assert place.reached(cgroup=own) in (8001, 8002)
        links = {link.info().id for link in mesh.connect.links.values()}
        programs = {program.id for program in mesh.connect.objects.programs.values()}
        maps = {one.info().id for one in mesh.connect.objects.maps.values()}
        assert len(links) == len(programs) == 10
        assert mesh.close() == []
        assert place.left() == []
        assert not place.root.exists()
        own.path.rmdir()  # at once: nothing holds it
        deadline = time.monotonic() + 5  # programs and maps go an RCU grace period after their last user
        while (alive := _alive("link", links) | _alive("prog", programs) | _alive("map", maps)) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.01)
        assert alive == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_connections_that_are_open_at_a_stop_go_on(place: Place, number: int) -> None:
    agent = place.agent()
    with place.connect() as connection:
        port = int(connection.recv(64))
        assert agent.end(number) == 0
        assert place.left() == []
        connection.sendall(b"still here")
        assert connection.recv(64) == b"still here"
        assert connection.getpeername() == ("127.0.0.1", port), "nobody translates back any more"
    assert place.reached() is None


def test_a_connected_udp_socket_goes_on_after_a_stop(place: Place) -> None:
    import socket

    mesh = place.mesh(place.config(web(8001, protocol="udp"))).start()
    with place.cgroup.enter():
        client = place.netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(5)
            client.connect(("10.96.0.10", 80))
            for _ in range(2):
                client.send(b"?")
                assert client.recv(64) == b"8001"
                mesh.close()


def test_closing_twice_and_using_a_closed_mesh(place: Place) -> None:
    mesh = place.mesh().start()
    assert mesh.close() == []
    assert mesh.close() == []
    with pytest.raises(ClosedError):
        mesh.apply(place.config(web(8003)))
    with pytest.raises(ClosedError):
        mesh.status()
    mesh.start()  # a closed mesh may start again
    assert place.reached() in (8001, 8002)


def test_a_stop_while_a_client_connects_ends_with_plain_refusals(place: Place) -> None:
    agent = place.agent()
    client = place.client()
    with client.unharmed():
        pass
    assert agent.end() == 0
    seen = client.settled()
    assert seen.failures == seen.attempts, "without the mesh nobody answers at the address"
    second = place.agent()
    client.more(2)
    with client.unharmed():
        assert set(client.settled().by_port) == {8001, 8002}
    assert second.end() == 0


def test_a_second_start_of_the_name_is_refused_and_names_the_process(place: Place) -> None:
    agent = place.agent()
    client = place.client()
    with client.unharmed():
        with pytest.raises(HeldError, match=f"process {agent.pid} holds it since") as refused:
            place.mesh(place.config(web(8003))).start()
        assert refused.value.pid == agent.pid
        with pytest.raises(HeldError, match=f"process {agent.pid}"):
            cleanup("life", place.root, place.bpffs)
        assert set(client.settled().by_port) == {8001, 8002}
    assert agent.end() == 0


def test_a_second_mesh_of_the_name_in_one_process_is_refused_too(place: Place) -> None:
    with place.mesh(), pytest.raises(HeldError, match=f"process {os.getpid()}"):
        place.mesh().start()
    assert place.left() == []


def test_cleanup_of_a_dead_agent_leaves_nothing(place: Place) -> None:
    place.agent().kill()
    assert place.reached() in (8001, 8002)
    removed = cleanup("life", place.root, place.bpffs)
    assert len(removed.links) == 10
    assert removed.left == []
    assert place.left() == []
    assert place.attached() == {}
    assert place.reached() is None


def test_cleanup_works_without_the_record_and_the_lock(place: Place) -> None:
    place.agent().kill()
    for file in (place.root / "life").iterdir():
        file.unlink()
    removed = cleanup("life", place.root, place.bpffs)
    assert len(removed.links) == 10
    assert place.left() == []


def test_programs_of_others_keep_running_through_start_take_over_stop_and_cleanup(
    place: Place, load: Callable[..., Objects]
) -> None:
    theirs = load(THEIRS)
    first = hooks.CONNECT4.attach(theirs.programs["theirs"], place.cgroup.path)
    second = hooks.SOCKOPS.attach(theirs.programs["their_sockops"], place.cgroup.path)
    legacy = hooks.CONNECT4.attach(theirs.programs["legacy"], place.cgroup.path, mechanism="legacy")
    there = place.attached()

    def still_there() -> None:
        for hook, programs in there.items():
            assert [one for one in place.attached()[hook] if one in programs] == programs
        before = theirs.variables["runs"].get()
        place.reached()
        assert theirs.variables["runs"].get() > before

    with first, second, legacy:
        still_there()
        place.agent().kill()
        still_there()
        agent = place.agent()
        still_there()
        agent.end()
        still_there()
        assert place.attached() == there
        place.agent().kill()
        cleanup("life", place.root, place.bpffs)
        still_there()
        assert place.attached() == there


def test_what_others_pinned_beside_us_survives_our_stop(place: Place) -> None:
    mesh = place.mesh().start()
    theirs = place.bpffs / "ebpfmesh/life/theirs"
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=8, name="theirs") as foreign:
        foreign.pin(theirs)
    notices = mesh.close()
    assert len(notices) == 1
    assert str(theirs) in notices[0]
    assert theirs.exists()
    assert place.attached() == {}
    theirs.unlink()


def test_an_emptied_bpffs_ends_with_a_fresh_start(place: Place) -> None:
    place.agent().kill()
    for pin in sorted((place.bpffs / "ebpfmesh").rglob("*"), reverse=True):
        pin.rmdir() if pin.is_dir() else pin.unlink()
    mesh = place.mesh().start()
    assert "was emptied" in " ".join(mesh.notices)
    assert place.reached() in (8001, 8002)


def test_an_emptied_bpffs_under_a_living_agent_changes_nothing_for_traffic(place: Place) -> None:
    agent = place.agent()
    client = place.client()
    with client.unharmed():
        for pin in sorted((place.bpffs / "ebpfmesh").rglob("*"), reverse=True):
            pin.rmdir() if pin.is_dir() else pin.unlink()
        client.settled()
    assert agent.end() == 0, agent.errors()
    assert place.left() == []
    assert place.attached() == {}


@pytest.mark.parametrize("gone", ["maps/backends", "links/connect4", "links/lifetime"])
def test_a_single_lost_pin_of_a_dead_agent_is_made_up_for(place: Place, gone: str) -> None:
    place.agent().kill()
    (place.bpffs / "ebpfmesh/life" / gone).unlink()
    mesh = place.mesh().start()
    assert gone in " ".join(mesh.notices)
    assert place.reached() in (8001, 8002)
    mesh.close()
    assert place.left() == []


def test_a_removed_cgroup_is_no_obstacle_to_the_end_of_its_agent(place: Place) -> None:
    with private_cgroup() as short:
        agent = place.agent(place.config(cgroup=short.path))
    assert isinstance(agent, Agent)
    assert agent.end() == 0, agent.errors()
    assert place.left() == []


def test_a_cgroup_that_was_made_again_is_served_after_a_restart(place: Place) -> None:
    with private_cgroup() as short:
        place.agent(place.config(cgroup=short.path)).kill()
        path = short.path
    with private_cgroup(path.name) as again:
        assert place.reached(cgroup=again) is None
        mesh = place.mesh(place.config(cgroup=path)).start()
        assert "removed" in " ".join(mesh.notices)
        assert place.reached(cgroup=again) in (8001, 8002)
        mesh.close()
    assert place.left() == []


def test_a_cgroup_that_is_made_again_is_followed_by_the_living_agent(place: Place) -> None:
    with private_cgroup() as short:
        agent = place.agent(place.config(cgroup=short.path))
        assert place.reached(cgroup=short) in (8001, 8002)
        path = short.path
    with private_cgroup(path.name) as again:
        assert "was made again" in agent.wait_for("notice: ")
        assert place.reached(cgroup=again) in (8001, 8002)
        assert {len(programs) for programs in place.attached(again).values()} == {1}
        agent.kill()
        assert place.reached(cgroup=again) in (8001, 8002), "its links are pinned, too"
        second = place.agent(place.config(cgroup=path))
        assert place.reached(cgroup=again) in (8001, 8002)
        assert second.end() == 0
        assert place.attached(again) == {}
    assert place.left() == []


def test_following_a_cgroup_that_cannot_be_attached_to_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_cgroup() as short:
        mesh = place.mesh(place.config(cgroup=short.path)).start()
        path = short.path
    assert not mesh.follow_cgroup(), "there is none at the moment"
    with private_cgroup(path.name) as again:
        with monkeypatch.context() as patched:
            patched.setattr(CgroupHook, "attach", _refused)
            with pytest.raises(AttachError):
                mesh.follow_cgroup()
        assert mesh.follow_cgroup()
        assert not mesh.follow_cgroup(), "it is the same now"
        assert place.reached(cgroup=again) in (8001, 8002)
        mesh.close()
        assert place.attached(again) == {}
    assert place.left() == []


def _refused(*_: object, **__: object) -> None:
    raise AttachError("refused by the test", errno=1, where="here")


def _alive(kind: str, ids: set[int | None]) -> set[str]:
    """Those of the objects that the kernel still has."""
    found = set()
    for number in ids:
        descriptor = getattr(lib(), f"bpf_{kind}_get_fd_by_id")(ffi.cast("__u32", number))
        if descriptor >= 0:
            os.close(descriptor)
            found.add(f"{kind} {number}")
    return found
