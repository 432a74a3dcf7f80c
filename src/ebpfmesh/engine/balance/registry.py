"""Balancers by name: the built-in ones, those registered by `balancer`, and those of installed packages.

A package offers one with an entry point of the group ``ebpfmesh.balancers``; the name of the entry point is that
of the balancer, its value the class. It is loaded when a service first asks for it. ``EBPFMESH_DISABLE_PLUGINS``
disables all of them when set to ``1`` or ``all``, or those that it names, separated by commas.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ebpfmesh.engine.balance.table import ALIAS_COLUMN, MAX_ID, Pick, Table, Target
from ebpfmesh.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "ebpfmesh.balancers"

_BUILT_IN = {
    "random": ("random", "Random"),
    "weighted-random": ("weighted_random", "WeightedRandom"),
    "round-robin": ("round_robin", "RoundRobin"),
    "weighted-round-robin": ("weighted_round_robin", "WeightedRoundRobin"),
    "maglev": ("maglev", "Maglev"),
    "maglev-sticky": ("maglev_sticky", "MaglevSticky"),
}


@runtime_checkable
class Balancer(Protocol):
    """What a balancer is: a name, and a function from backends to a table.

    Two more methods are used when they are there. ``slots(weights, size) -> int`` says how many 16-bit
    words `build` would make, so that capacity is known without building. ``refuse(weights, size) -> str | None``
    says why it will not serve these weights with this table size; ``notice(weights, size) -> str | None``
    what an operator should know about them.
    """

    name: str

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The table for ``targets``: those with weight 0 get no slot, and nobody at all is a table without slots.

        ``previous`` is the table in use for the same backends, if any; ids keep their meaning while they are
        in use. ``size`` is the ``table`` of the configuration. Ids are 1 to 65535.
        """


_registered: dict[str, Balancer] = {}
_failed: dict[str, str] = {}

BalancerClass = TypeVar("BalancerClass", bound=Callable[[], Balancer])


def balancer(cls: BalancerClass) -> BalancerClass:
    """Register a balancer class under its ``name`` (a class decorator); it is constructed once, without arguments.

    ConfigError if it has no name or no ``build``, or if the name is that of a built-in balancer. A name that
    was registered before is replaced, so that a module can be reloaded.
    """
    _register(cls(), getattr(cls, "__qualname__", repr(cls)))
    return cls


def get(name: str) -> Balancer:
    """The balancer of that name; ConfigError names those there are, or why its package failed to load."""
    found = _registered.get(name)
    if found is None:
        found = _load(name)
    return found


def names() -> list[str]:
    """All names that `get` can be asked for, of packages too; a package's balancer is not loaded for this."""
    return sorted({*_BUILT_IN, *_registered, *(point.name for point in _entry_points())})


def failures() -> dict[str, str]:
    """The balancers of packages that failed to load, each with the reason."""
    return dict(_failed)


def build(
    name: str, targets: Sequence[Target], previous: Table | None = None, *, size: int | None = None
) -> Table:
    """Build a table, and check it unless the balancer is built in: the kernel picks one of ``targets`` that takes part.

    ``targets`` have distinct ids; ``size`` is the table size of the configuration, or None.
    ConfigError names the balancer when it fails or when what it returns is not a table of those targets.
    """
    chosen = get(name)
    try:
        table = chosen.build(targets, previous, size=size)
    except Exception as error:
        raise ConfigError(
            f"it failed with {type(error).__name__}: {error}", where=f"balancer {name!r}"
        ) from error
    # nobody can take a built-in name, and the tests hold the built-in tables to the same rules
    reason = None if name in _BUILT_IN else wrong(table, targets)
    if reason:
        raise ConfigError(
            reason, where=f"balancer {name!r}", remedy="its build() has to return a table of the targets"
        )
    return table


def refusal(name: str, weights: Sequence[int], size: int | None) -> str | None:
    """Why a balancer will not serve backends of these weights with this table size, or None.

    ConfigError if there is no such balancer or it failed to load.
    """
    ask = getattr(get(name), "refuse", None)
    return None if ask is None else _asked(name, ask, weights, size)


def notice(name: str, weights: Sequence[int], size: int | None) -> str | None:
    """What an operator should know about these weights with this balancer, or None; ConfigError as for `refusal`."""
    ask = getattr(get(name), "notice", None)
    return None if ask is None else _asked(name, ask, weights, size)


def slots(name: str, weights: Sequence[int], size: int | None) -> int:
    """How many 16-bit words a table for these weights takes; a balancer that does not say so builds one.

    ConfigError if there is no such balancer, or if it fails.
    """
    chosen = get(name)
    ask = getattr(chosen, "slots", None)
    if ask is not None:
        return int(_asked(name, ask, weights, size))
    targets = [Target(id_, weight, id_.to_bytes(18)) for id_, weight in enumerate(weights, start=1)]
    return len(build(name, targets, size=size).slots)


def _asked(
    name: str, ask: Callable[[Sequence[int], int | None], Any], weights: Sequence[int], size: int | None
) -> Any:
    try:
        return ask(weights, size)
    except Exception as error:
        raise ConfigError(
            f"it failed with {type(error).__name__}: {error}", where=f"balancer {name!r}"
        ) from error


def wrong(table: object, targets: Sequence[Target]) -> str | None:
    """What is wrong with a balancer's table for these targets, or None."""
    if not isinstance(table, Table):
        return f"it returned {type(table).__name__} instead of a Table"
    if getattr(table.slots, "typecode", "") != "H":
        return "its slots are not array('H')"
    active = {target[0] for target in targets if target[1]}
    if active:
        return _wrong_slots(table.slots, table.pick, table.count, active)
    return "it has slots although no target takes connections" if table.count or table.slots else None


def _wrong_slots(slots: array[int], pick: Pick, count: int, active: set[int]) -> str | None:
    if pick not in _PICKS:
        return f"it picks by {pick!r} although targets take connections"
    words = ALIAS_COLUMN if pick == Pick.ALIAS else 1
    if count < 1 or count * words != len(slots):
        return f"its count is {count}, its slots hold {len(slots)} words of {words} a pick"
    if count > MAX_ID + 2:
        return f"it has {count} slots, and a table has at most {MAX_ID + 2}"
    held = {*slots[::ALIAS_COLUMN], *slots[1::ALIAS_COLUMN]} if words > 1 else set(slots)
    if not held <= active:
        return f"its slots hold id {min(held - active)}, which is no target that takes connections"
    return None


_PICKS = frozenset((Pick.HASH, Pick.RANDOM, Pick.TURN, Pick.ALIAS))


def _register(made: object, origin: str) -> Balancer:
    name = getattr(made, "name", None)
    if not isinstance(name, str) or not name or not isinstance(made, Balancer):
        raise ConfigError("it lacks a name or a build method", where=f"balancer {origin}")
    if name in _BUILT_IN and not type(made).__module__.startswith(__package__ + "."):
        raise ConfigError(
            "the name is that of a built-in balancer", where=f"balancer {name!r}", remedy="choose another"
        )
    _registered[name] = made
    return made


def _load(name: str) -> Balancer:
    if name in _BUILT_IN:
        module, cls = _BUILT_IN[name]
        return _register(getattr(import_module(f"{__package__}.{module}"), cls)(), cls)
    for point in _entry_points():
        if point.name != name:
            continue
        if name in _failed:
            raise ConfigError(f"its package failed to load: {_failed[name]}", where=f"balancer {name!r}")
        try:
            made = point.load()()
            if getattr(made, "name", name) != name:
                raise ConfigError(f"its name is {made.name!r}, its entry point says {name!r}")
            found = _register(made, point.value)
        # A plugin may fail in any way; that is its own matter, and what the mesh runs without it goes on.
        except Exception as error:
            _failed[name] = f"{point.value}: {type(error).__name__}: {error}"
            raise ConfigError(
                f"its package failed to load: {_failed[name]}",
                where=f"balancer {name!r}",
                remedy="repair or remove the package, or name it in EBPFMESH_DISABLE_PLUGINS",
            ) from error
        return found
    raise ConfigError(f"there is no balancer {name!r}", remedy=f"there are: {', '.join(names())}")


def _entry_points() -> tuple[EntryPoint, ...]:
    disabled = os.environ.get("EBPFMESH_DISABLE_PLUGINS", "")
    if disabled in ("1", "all"):
        return ()
    without = {part.strip() for part in disabled.split(",")}
    return tuple(point for point in _installed(tuple(sys.path)) if point.name not in without)


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # Reading what is installed takes 10 ms: not once for each of 10,000 services whose balancer is misspelt.
    del path
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))
