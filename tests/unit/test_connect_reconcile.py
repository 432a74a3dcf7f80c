"""Applies to the connect tier on a fake kernel: whatever is killed when, a connection sees the old model or the new one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest
from connect_applies import (
    ADDRESSES,
    BALANCERS,
    Kernel,
    Killed,
    agent,
    backend_lists,
    bring_to,
    every_apply_ends_as_it_should,
    one_of_the_two_after_a_kill,
    one_of_the_two_before_every_write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.policy.model import Service
from ebpfmesh.testing.fake_kernel import FakeHash, FakeMaps, Seen, fake_maps, look_up


def expected(model: Iterable[Service]) -> dict[str, Seen]:
    """The reference: which backends each address may give."""
    result = {}
    for service in model:
        takers = [one.endpoint for one in service.backends if one.effective_weight]
        for address in service.endpoints:
            same = frozenset(str(one) for one in takers if one.is_v4 == address.is_v4)
            dual = same if address.is_v4 else frozenset(map(str, takers))
            result[str(address)] = Seen(dual, same)
    return result


def view(maps: FakeMaps) -> dict[str, Seen]:
    """What connections see now, of every address there could be."""
    found = ((address, look_up(maps, address)) for address in ADDRESSES)
    return {address: seen for address, seen in found if seen is not None}


@st.composite
def models(draw: st.DrawFn) -> list[Service]:
    """Up to three services that share out some of the addresses."""
    free = draw(st.permutations(ADDRESSES))
    model = []
    for name in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True)):
        count = draw(st.integers(1, 2))
        addresses, free = free[:count], free[count:]
        if addresses:
            balance = draw(st.sampled_from(BALANCERS))
            model.append(Service(name, "tcp", tuple(addresses), tuple(draw(backend_lists)), balance))  # type: ignore[arg-type]
    return model


@given(st.lists(models(), min_size=1, max_size=5), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_apply_ends_in_what_the_model_says(history: list[list[Service]], collect: bool) -> None:
    every_apply_ends_as_it_should(history, collect, expected, view)


@given(models(), models(), st.integers(1, 80))
@settings(max_examples=500, deadline=None)
def test_an_agent_killed_at_any_write_leaves_all_of_the_old_or_all_of_the_new(
    old: list[Service], new: list[Service], kill_at: int
) -> None:
    maps = one_of_the_two_after_a_kill(old, new, kill_at, expected, view)
    fresh = fake_maps()
    bring_to(agent(fresh), new)
    for name in ("addresses", "backends", "services"):
        left, right = maps[name], fresh[name]
        assert isinstance(left, FakeHash)
        assert isinstance(right, FakeHash)
        assert len(left.elements) == len(right.elements), f"{name} keeps what nobody needs"


@given(models(), models(), models())
@settings(max_examples=100, deadline=None)
def test_after_every_single_write_the_view_is_one_of_the_two(
    first: list[Service], old: list[Service], new: list[Service]
) -> None:
    one_of_the_two_before_every_write(first, old, new, expected, view)


def test_an_apply_that_does_not_fit_changes_nothing() -> None:
    maps = fake_maps(backends=4)
    reconciler = agent(maps)
    model = [Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80", "10.0.0.2:80"))]
    bring_to(reconciler, model)
    before = view(maps)
    too_many = Service("b", "tcp", (ADDRESSES[1],), tuple(f"10.0.1.{number}:80" for number in range(1, 9)))
    with pytest.raises(CapacityError, match="backends are in use"):
        reconciler.apply([too_many])
    assert view(maps) == before
    bring_to(reconciler, [*model, Service("b", "tcp", (ADDRESSES[1],), ("10.0.0.9:80",))])
    assert look_up(maps, ADDRESSES[1]) == Seen(frozenset({"10.0.0.9:80"}), frozenset({"10.0.0.9:80"}))


def test_a_backend_keeps_its_id_over_changes_and_restarts() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))])
    ids = {str(one): backend.id for one, backend in reconciler.installed.services["a"].backends.items()}
    successor = agent(maps)
    successor.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.3:80", "10.0.0.4:80", "10.0.0.1:80"))])
    after = {str(one): backend.id for one, backend in successor.installed.services["a"].backends.items()}
    assert {key: after[key] for key in ("10.0.0.1:80", "10.0.0.3:80")} == {
        key: ids[key] for key in ("10.0.0.1:80", "10.0.0.3:80")
    }
    assert after["10.0.0.4:80"] not in ids.values()


def test_the_id_of_a_removed_backend_is_not_used_again_while_a_connection_is_open() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",))])
    old = next(iter(reconciler.installed.services["a"].backends.values()))
    stats = maps["backend_stats"].memory  # type: ignore[union-attr]
    stats[old.counter * 56 + 8] = 1  # one active connection
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.2:80",))])
    reconciler.collect()
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.2:80", "10.0.0.3:80"))])
    assert old.id not in {one.id for one in reconciler.installed.services["a"].backends.values()}
    stats[old.counter * 56 + 8] = 0
    assert reconciler.collect()
    assert not reconciler.installed.services["a"].leaving


def test_a_change_of_one_address_needs_no_generation_and_no_wait() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",))])
    assert reconciler.tables.generation == 0
    assert isinstance(reconciler.tables, Kernel)
    assert reconciler.tables.waits == 0
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.2:80",))])
    assert reconciler.tables.waits == 1, "the version that it overwrites may still be read"


def test_an_address_that_moves_from_one_service_to_another_is_never_nobodys() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",))])
    reconciler.tables._on_write = lambda what: None if look_up(maps, ADDRESSES[0]) else pytest.fail(what)
    reconciler.apply([Service("b", "tcp", (ADDRESSES[0],), ("10.0.0.2:80",))], ["a"])
    seen = look_up(maps, ADDRESSES[0])
    assert seen is not None
    assert seen.dual == {"10.0.0.2:80"}


def test_a_scoped_address_is_found_in_its_namespace_only() -> None:
    maps = fake_maps()
    agent(maps).apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",), namespace="/run/netns/blue")])
    assert look_up(maps, ADDRESSES[0], scope=7) is not None
    assert look_up(maps, ADDRESSES[0]) is None


@given(models(), models(), models(), st.integers(1, 80), st.integers(1, 80))
@settings(max_examples=300, deadline=None)
def test_what_a_killed_apply_prepared_never_comes_up_in_a_later_one(
    old: list[Service], dead: list[Service], new: list[Service], first: int, second: int
) -> None:
    maps = fake_maps()
    bring_to(agent(maps), old)
    with suppress(Killed):
        bring_to(agent(maps, first), dead)
    between = view(maps)
    assert between in (expected(old), expected(dead))
    with suppress(Killed):
        killed = agent(maps, second)
        bring_to(killed, new)
        while killed.collect():
            pass
    assert view(maps) in (between, expected(new))
    last = agent(maps)
    last.tables._on_write = lambda what: None if view(maps) in (between, expected(new)) else pytest.fail(what)
    bring_to(last, new)
    assert view(maps) == expected(new)


def test_an_address_that_two_paths_of_one_namespace_claim_is_refused() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    blue = Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",), namespace="/run/netns/blue")
    again = Service("b", "tcp", (ADDRESSES[0],), ("10.0.0.2:80",), namespace="/proc/5/ns/net")
    reconciler.apply([blue])
    with pytest.raises(ConfigError, match="another service's"):
        reconciler.apply([again])
    with pytest.raises(ConfigError, match="another service's"):
        agent(fake_maps()).apply([blue, again])
    seen = look_up(maps, ADDRESSES[0], scope=7)
    assert seen is not None
    assert seen.dual == {"10.0.0.1:80"}


def test_a_service_without_addresses_stays_until_it_is_removed() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (), ("10.0.0.1:80",))])
    reconciler.collect()
    assert "a" in agent(maps).installed.services
    reconciler.apply([], ["a"])
    while reconciler.collect():
        pass
    assert not agent(maps).installed.services


def test_a_backend_that_left_is_known_as_such_to_the_next_agent() -> None:
    maps = fake_maps()
    reconciler = agent(maps)
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80", "10.0.0.2:80"))])
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80",))])
    assert [str(one) for one in agent(maps).installed.services["a"].leaving] == ["10.0.0.2:80"]
    reconciler.apply([Service("a", "tcp", (ADDRESSES[0],), ("10.0.0.1:80", "10.0.0.2:80"))])
    assert not agent(maps).installed.services["a"].leaving
