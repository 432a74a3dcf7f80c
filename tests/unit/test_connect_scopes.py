"""Services of one namespace over those of all: at any write each namespace sees all of the old model or of the new."""

from __future__ import annotations

from collections.abc import Iterable

from connect_applies import (
    ADDRESSES,
    BALANCERS,
    backend_lists,
    every_apply_ends_as_it_should,
    one_of_the_two_after_a_kill,
    one_of_the_two_before_every_write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.policy.model import Service
from ebpfmesh.testing.fake_kernel import FakeMaps, Seen, look_up

BLUE = 7
"""The cookie that `agent` gives to every path."""

View = dict[tuple[str, int], Seen]
"""What is found at an address, by a namespace that is nobody's and by the blue one."""


def expected(model: Iterable[Service]) -> View:
    found: View = {}
    everywhere_first = sorted(model, key=lambda one: one.namespace is not None)
    for service in everywhere_first:
        takers = [one.endpoint for one in service.backends if one.effective_weight]
        for address in service.endpoints:
            same = frozenset(str(one) for one in takers if one.is_v4 == address.is_v4)
            seen = Seen(same if address.is_v4 else frozenset(map(str, takers)), same)
            for scope in (BLUE,) if service.namespace else (0, BLUE):
                found[str(address), scope] = seen
    return found


def view(maps: FakeMaps) -> View:
    found = {
        (address, scope): look_up(maps, address, scope=scope) for address in ADDRESSES for scope in (0, BLUE)
    }
    return {key: seen for key, seen in found.items() if seen is not None}


@st.composite
def models(draw: st.DrawFn) -> list[Service]:
    """Up to four services over two addresses, each once for the blue namespace and once for all."""
    places = [(address, namespace) for address in ADDRESSES[1:3] for namespace in (None, "/run/netns/blue")]
    free = list(draw(st.permutations(places)))
    model = []
    for name in draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True)):
        address, namespace = free.pop()
        balance = draw(st.sampled_from(BALANCERS))
        backends = tuple(draw(backend_lists))
        model.append(Service(name, "tcp", (address,), backends, balance, namespace))  # type: ignore[arg-type]
    return model


@given(st.lists(models(), min_size=1, max_size=5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_namespace_sees_what_the_model_says(history: list[list[Service]], collect: bool) -> None:
    every_apply_ends_as_it_should(history, collect, expected, view)


@given(models(), models(), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_an_agent_killed_at_any_write_leaves_one_of_the_two_to_every_namespace(
    old: list[Service], new: list[Service], kill_at: int
) -> None:
    one_of_the_two_after_a_kill(old, new, kill_at, expected, view)


@given(models(), models(), models())
@settings(max_examples=150, deadline=None)
def test_before_every_single_write_the_view_is_one_of_the_two(
    first: list[Service], old: list[Service], new: list[Service]
) -> None:
    one_of_the_two_before_every_write(first, old, new, expected, view)
