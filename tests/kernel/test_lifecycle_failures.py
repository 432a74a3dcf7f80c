"""A start that fails, at each of its stages, leaves exactly what was there before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle import Place, another_version, web

from ebpfmesh import hooks, maps
from ebpfmesh.errors import (
    AttachError,
    CapacityError,
    ConfigError,
    EbpfMeshError,
    LayoutError,
    OwnershipError,
    SpecError,
    VerifierError,
)
from ebpfmesh.hooks.cgroup import CgroupHook
from ebpfmesh.hooks.link import BpfLink
from ebpfmesh.layout import U32, U64
from ebpfmesh.ownership import layout as layout_map
from ebpfmesh.ownership.owner import OwnerRecord
from ebpfmesh.ownership.pins import PinDirectory
from ebpfmesh.policy.model import Capacity
from ebpfmesh.spec import MapType
from ebpfmesh.testing import NetNs, PrivateCgroup, private_cgroup
from ebpfmesh.tiers.connect import tier
from ebpfmesh.tiers.connect.tables import Tables

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


class _StopError(Exception):
    """What the tests raise in the middle; no error of ours, so that nothing can take it for one."""


def _attach_fails_at(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    attach, calls = CgroupHook.attach, iter(range(100))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == number:
            raise AttachError("refused by the test", errno=1, where="here")
        return attach(*arguments, **options)

    patched.setattr(CgroupHook, "attach", failing)
    return AttachError


def _update_fails_at(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    newer = place.directory / "newer.bpf.o"
    newer.write_bytes(another_version(PASS="(1 + 0)", ENOMEM="11"))
    patched.setattr(tier, "object_path", lambda: newer)
    update, calls = BpfLink.update, iter(range(100))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == number:
            raise AttachError("refused by the test", errno=1, where="here")
        return update(*arguments, **options)

    patched.setattr(BpfLink, "update", failing)
    return AttachError


def _pin_fails_at(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    pin, calls = PinDirectory._pin, iter(range(100))

    def failing(*arguments: Any) -> None:
        if next(calls) == number:
            raise _StopError
        pin(*arguments)

    patched.setattr(PinDirectory, "_pin", failing)
    return _StopError


def _write_fails_at(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    calls = iter(range(1000))

    def failing(*_: Any) -> None:
        if next(calls) == number:
            raise _StopError

    patched.setattr(Tables, "_about", failing)
    return _StopError


def _record_fails(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    def failing(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    patched.setattr(OwnerRecord, "write", failing)
    return OSError


def _object_is_no_object(place: Place, patched: pytest.MonkeyPatch, number: int) -> type[Exception]:
    broken = place.directory / "broken.bpf.o"
    broken.write_bytes(b"\x7fELF, but no more")
    patched.setattr(tier, "object_path", lambda: broken)
    return SpecError


def _object_is_refused_by_the_verifier(
    place: Place, patched: pytest.MonkeyPatch, number: int
) -> type[Exception]:
    refused = place.directory / "refused.bpf.o"
    refused.write_bytes(another_version(PASS="77"))
    patched.setattr(tier, "object_path", lambda: refused)
    return VerifierError


Failure = Callable[[Place, pytest.MonkeyPatch, int], type[Exception]]

FRESH: list[tuple[Failure, int]] = [
    *((_attach_fails_at, number) for number in (0, 4, 9)),
    *((_pin_fails_at, number) for number in (0, 3, 14, 20)),
    *((_write_fails_at, number) for number in (0, 2, 4)),
    (_record_fails, 0),
    (_object_is_no_object, 0),
    (_object_is_refused_by_the_verifier, 0),
]


@pytest.mark.parametrize(("failure", "number"), FRESH)
def test_a_fresh_start_that_fails_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, failure: Failure, number: int
) -> None:
    with monkeypatch.context() as patched:
        error = failure(place, patched, number)
        with pytest.raises(error):
            place.mesh().start()
    assert place.left() == []
    assert place.attached() == {}
    with place.mesh():  # and the name is free
        assert place.reached() in (8001, 8002)


TAKE_OVER: list[tuple[Failure, int]] = [
    *((_update_fails_at, number) for number in (0, 5, 9)),
    *((_write_fails_at, number) for number in (0, 4, 7)),
    (_object_is_no_object, 0),
    (_object_is_refused_by_the_verifier, 0),
]


@pytest.mark.parametrize(("failure", "number"), TAKE_OVER)
def test_a_take_over_that_fails_leaves_the_old_data_path_running(
    place: Place, monkeypatch: pytest.MonkeyPatch, failure: Failure, number: int
) -> None:
    old = place.config(web(8001, 8002))
    place.mesh(old).start().close(keep=True)
    before = place.left(), place.attached(), (place.root / "life/owner.json").read_text()
    client = place.client()
    with client.unharmed():
        with monkeypatch.context() as patched:
            error = failure(place, patched, number)
            with pytest.raises(error):
                place.mesh(place.config(web(8003), web(8004, name="new", address="10.96.0.11:80"))).start()
        assert set(client.settled().by_port) == {8001, 8002}
        assert (place.left(), place.attached(), (place.root / "life/owner.json").read_text()) == before
        assert place.reached(("10.96.0.11", 80)) is None
        place.mesh(place.config(web(8003))).start()
        assert set(client.settled().by_port) == {8003}


def test_an_attach_that_fails_beside_links_that_work_leaves_those(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mesh().start().close(keep=True)
    for lost in ("recvmsg6", "sendmsg6", "connect6"):
        (place.bpffs / "ebpfmesh/life/links" / lost).unlink()
    client = place.client()
    before = place.left()
    with client.unharmed():
        with monkeypatch.context() as patched, pytest.raises(AttachError):
            _attach_fails_at(place, patched, 2)
            place.mesh(place.config(web(8003))).start()
        assert place.left() == before
        assert set(client.settled().by_port) == {8001, 8002}
        place.mesh().start()
        assert len(place.attached()) == 10


@pytest.mark.parametrize("number", [0, 3])
def test_a_move_to_another_cgroup_that_fails_leaves_the_old_cgroup_served(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place.mesh().start().close(keep=True)
    before = place.left(), place.attached()
    client = place.client()
    with private_cgroup() as other:
        with client.unharmed(), monkeypatch.context() as patched:
            _attach_fails_at(place, patched, number)
            with pytest.raises(AttachError):
                place.mesh(place.config(cgroup=other.path)).start()
            assert (place.left(), place.attached()) == before
        assert place.attached(other) == {}
        with place.mesh(place.config(cgroup=other.path)) as moved:
            assert place.attached() == {}, "the old cgroup is served still"
            assert place.reached() is None
            assert place.reached(cgroup=other) in (8001, 8002)
            assert "attached to" in " ".join(moved.notices)
        assert place.left() == []


def test_a_take_over_into_maps_that_are_too_small_leaves_what_ran(place: Place) -> None:
    place.mesh(place.config(capacity=Capacity(backends=4))).start().close(keep=True)
    client = place.client()
    with client.unharmed():
        many = [
            web(8001, 8002, name=f"s{number}", address=f"10.96.1.{number}:80") for number in range(1, 100)
        ]
        with pytest.raises(CapacityError):
            place.mesh(place.config(web(8003), *many)).start()
        assert set(client.settled().by_port) == {8001, 8002}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"services": (web(8001, address="10.96.0.10"),)}, "addresses"),
        ({"services": (web(8001), web(8002))}, "web"),
        ({"name": "no/name"}, "name"),
        ({"cgroup": "/ebpfmesh-there-is-no-such-cgroup"}, "no cgroup"),
        ({"cgroup": "/"}, "root cgroup"),
        ({"cgroup": "/proc"}, "not a cgroup"),
        ({"memory_budget": "1KiB"}, "memory"),
    ],
)
def test_a_configuration_that_is_refused_leaves_what_ran(
    place: Place, change: dict[str, Any], message: str
) -> None:
    import msgspec

    place.mesh().start().close(keep=True)
    before = place.left(), place.attached()
    client = place.client()
    with client.unharmed(), pytest.raises((ConfigError, CapacityError), match=message):
        place.mesh(msgspec.structs.replace(place.config(), **change)).start()
    assert (place.left(), place.attached()) == before


def test_a_foreign_object_at_our_pin_path_is_left_alone_and_named(place: Place) -> None:
    place.mesh().start().close(keep=True)
    theirs = place.bpffs / "ebpfmesh/life/maps/theirs"
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=8, name="theirs") as foreign:
        foreign.pin(theirs)
    before = place.left(), place.attached()
    client = place.client()
    with client.unharmed(), pytest.raises(OwnershipError, match="theirs"):
        place.mesh(place.config(web(8003))).start()
    assert (place.left(), place.attached()) == before
    theirs.unlink()
    place.mesh().start()


def test_a_foreign_object_in_the_way_of_a_fresh_start_is_left_alone(place: Place) -> None:
    (place.bpffs / "ebpfmesh/life/links").mkdir(parents=True)
    theirs = place.bpffs / "ebpfmesh/life/links/connect4"
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=8, name="theirs") as foreign:
        foreign.pin(theirs)
    with pytest.raises(OwnershipError, match="connect4"):
        place.mesh().start()
    assert theirs.exists()
    assert place.attached() == {}
    theirs.unlink()


def test_an_agent_of_another_layout_version_is_refused_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(layout_map, "LAYOUT_VERSION", 999)
        place.mesh().start().close(keep=True)
    before = place.left(), place.attached()
    client = place.client()
    with client.unharmed(), pytest.raises(LayoutError, match=r"layout version 999.*ebpfmesh cleanup life"):
        place.mesh().start()
    assert (place.left(), place.attached()) == before
    cleaned = place.run("cleanup", "life")
    assert cleaned.returncode == 0, cleaned.stderr
    assert place.left() == []
    place.mesh().start()


def test_a_map_of_another_layout_is_refused_by_name_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = tier.layout_hashes
    with monkeypatch.context() as patched:
        patched.setattr(tier, "layout_hashes", lambda spec: {**hashes(spec), "backends": "ab" * 32})
        place.mesh().start().close(keep=True)
    before = place.left(), place.attached()
    client = place.client()
    with client.unharmed(), pytest.raises(LayoutError, match="maps/backends"):
        place.mesh().start()
    assert (place.left(), place.attached()) == before


def test_every_error_of_a_start_is_one_of_ours(place: Place) -> None:
    place.mesh().start().close(keep=True)
    with pytest.raises(EbpfMeshError):
        place.mesh(place.config(cgroup=Path("/sys/fs"))).start()
    assert hooks.CONNECT4.attached(place.cgroup.path)
