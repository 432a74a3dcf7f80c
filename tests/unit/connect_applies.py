"""Applies of the connect tier's agent on a fake kernel, killed at a write, and what connections may see then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from hypothesis import strategies as st

from ebpfmesh.policy.model import Backend, Service
from ebpfmesh.testing.fake_kernel import FakeMaps, fake_maps
from ebpfmesh.tiers.connect.installed import Installed
from ebpfmesh.tiers.connect.reconcile import Reconciler
from ebpfmesh.tiers.connect.tables import Tables

ADDRESSES = ["10.96.0.1:80", "10.96.0.2:80", "[fd00::1]:80", "10.96.0.3:443"]
BACKENDS = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "[fd00::a]:8080", "[fd00::b]:8080"]
BALANCERS = ["random", "weighted-random", "round-robin", "weighted-round-robin", "maglev", "maglev-sticky"]

backend_lists = st.lists(
    st.builds(Backend, st.sampled_from(BACKENDS), st.sampled_from([0, 1, 1, 2, 5]), st.booleans()),
    max_size=4,
    unique_by=lambda one: one.address,
)

Model = list[Service]
V = TypeVar("V")
"""What connections see of a kernel."""


class Killed(BaseException):
    """Raised in the place of a write and of every later one, as SIGKILL would have it."""


class Kernel(Tables):
    """Tables on fake maps, without the wait for readers that a fake kernel has not."""

    waits = 0

    def grace_period(self) -> None:
        self.waits += 1


def agent(maps: FakeMaps, kill_at: int | None = None) -> Reconciler:
    """A new agent on the maps, as one that starts after a crash; it dies before write number ``kill_at``."""
    writes = iter(range(1, 1 << 30))

    def on_write(what: str) -> None:
        if kill_at is not None and next(writes) >= kill_at:
            raise Killed(what)

    # counting begins after the start: the roll-back at start is killed by a test of its own
    tables = Kernel(maps)  # type: ignore[arg-type]
    made = Reconciler(tables, Installed(tables), lambda path: 7 if path else 0)
    tables._on_write = on_write if kill_at is not None else None
    return made


def bring_to(reconciler: Reconciler, model: Iterable[Service]) -> None:
    """What Mesh.start and Mesh.apply do: write what differs, remove what is not wanted."""
    wanted = {service.name: service for service in model}
    gone = [name for name in reconciler.installed.services if name not in wanted]
    put = [service for service in wanted.values() if not reconciler.adopt(service)]
    if put or gone:
        reconciler.apply(put, gone)


def every_apply_ends_as_it_should(
    history: Iterable[Model], collect: bool, expected: Callable[[Model], V], view: Callable[[FakeMaps], V]
) -> None:
    """One model after the other: ``view`` is what is ``expected`` of each."""
    maps = fake_maps()
    reconciler = agent(maps)
    for model in history:
        bring_to(reconciler, model)
        if collect:
            reconciler.collect()
        assert view(maps) == expected(model)


def one_of_the_two_after_a_kill(
    old: Model, new: Model, kill_at: int, expected: Callable[[Model], V], view: Callable[[FakeMaps], V]
) -> FakeMaps:
    """An agent that goes from the one to the other dies before a write, and its successor brings it to an end."""
    maps = fake_maps()
    allowed = (expected(old), expected(new))
    bring_to(agent(maps), old)
    with suppress(Killed):
        bring_to(agent(maps, kill_at), new)
    assert view(maps) in allowed
    successor = agent(maps)
    assert view(maps) in allowed

    def on_write(what: str) -> None:
        assert view(maps) in allowed, f"mixed before {what}"

    successor.tables._on_write = on_write
    bring_to(successor, new)
    assert view(maps) == expected(new)
    while successor.collect():
        pass
    assert view(maps) == expected(new)
    return maps


def one_of_the_two_before_every_write(
    first: Model, old: Model, new: Model, expected: Callable[[Model], V], view: Callable[[FakeMaps], V]
) -> None:
    """The third change of an agent, which uses again what the first retired."""
    maps = fake_maps()
    reconciler = agent(maps)
    bring_to(reconciler, first)
    bring_to(reconciler, old)
    allowed = (expected(old), expected(new))

    def on_write(what: str) -> None:
        assert view(maps) in allowed, f"mixed before {what}"

    reconciler.tables._on_write = on_write
    bring_to(reconciler, new)
    reconciler.collect()
    assert view(maps) == expected(new)
