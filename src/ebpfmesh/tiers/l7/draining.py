"""What a stop leaves while sockets are still enrolled: the few pins without which their bytes would not pass.

A socket keeps the programs that it was enrolled with. They pass everything once its service drains, but they live with
their links, and what they jump to with its program array; freeing the sockhash under a live socket would break it. So these
stay, below draining/, until the last of the sockets has closed; the tables that the programs use stay with them.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.ownership.pins import DRAINING
from ebpfmesh.policy.wire import ServiceFlag
from ebpfmesh.tiers.l7 import loading, sockets
from ebpfmesh.tiers.l7.attaching import AT_SOCKETS, PREFIX, SOCKETS
from ebpfmesh.tiers.l7.tables import Tables
from ebpfmesh.tiers.l7.wire import Version, drained

if TYPE_CHECKING:
    from ebpfmesh.ownership.pins import PinDirectory

_MAPS = (SOCKETS, "l7_marks", "l7_sent", "l7_received")
_BEFORE_ALL = (
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
)  # of the connect tier: no new connections first


def notice(name: str, count: int) -> str:
    """What is said of connections that are left."""
    plural = "connection is" if count == 1 else "connections are"
    return (
        f"{count} {plural} still open and pass as plain ones: a few pins stay until they have closed; "
        f"the next start or `ebpfmesh cleanup {name}` collects them, `cleanup --force` resets what is open"
    )


def begin(pins: PinDirectory) -> None:
    """Set aside what the enrolled sockets need; everything else can go."""
    number = max(sets(pins), default=0) + 1
    keys = {f"maps/{name}": f"{number}-{name}" for name in _MAPS}
    keys |= {f"links/{PREFIX}{name}": f"{number}-link-{name}" for name in AT_SOCKETS}
    pins.set_aside(keys)


def sets(pins: PinDirectory) -> dict[int, list[str]]:
    """The names of the pins that are kept, by the number of their set; links before maps."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in pins.draining():
        number, _, rest = name.partition("-")
        if number.isdigit():
            found[int(number)].insert(0 if rest.startswith("link-") else len(found[int(number)]), name)
    return dict(found)


def count(pins: PinDirectory) -> int:
    """How many sockets need what is kept."""
    from ebpfmesh import maps

    total = 0
    for number, names in sets(pins).items():
        if f"{number}-{SOCKETS}" in names:
            with maps.open_pinned(pins.path / DRAINING / f"{number}-{SOCKETS}") as held:
                total += sockets.enrolled(held)
    return total


def end(pins: PinDirectory, *, force: bool = False) -> int:
    """End what a dead agent left of the tier, and collect what drains; how many sockets still need some of it.

    ``force``: see `collect`. Errors: CapabilityError.
    """
    retire(pins)
    return collect(pins, force=force)


def collect(pins: PinDirectory, *, force: bool = False) -> int:
    """Remove the sets whose last socket has closed; returns how many sockets the others still have.

    With ``force`` the sockets are destroyed first, by exact cookie: their peers see a reset. Errors: CapabilityError.
    """
    from ebpfmesh import maps

    left = 0
    for number, names in sets(pins).items():
        there = 0
        if f"{number}-{SOCKETS}" in names:
            with maps.open_pinned(pins.path / DRAINING / f"{number}-{SOCKETS}") as held:
                there = sockets.enrolled(held)
            if there and force:
                there = _destroy(pins, number)  # what is destroyed loses nothing by the end of the map
        if there:
            left += there
            continue
        for name in names:
            pins.remove_pin(f"{DRAINING}/{name}")
    return left


def retire(pins: PinDirectory) -> int:
    """End what a dead agent left of the tier: its policies, then its programs; how many sockets are still enrolled.

    The sockets pass as plain ones from here on, and what they need is set aside. Errors: CapabilityError.
    """
    from ebpfmesh import maps
    from ebpfmesh.tiers.connect.tier import layout_hashes

    pinned = pins.maps()
    if SOCKETS not in pinned:
        return 0
    links = pins.links()
    for name in (
        *_BEFORE_ALL,
        *(one for one in links if one.startswith(PREFIX) and one[len(PREFIX) :] not in AT_SOCKETS),
    ):
        if name in links:
            pins.remove_pin(f"links/{name}")
    with ExitStack() as opened:
        those = {name: opened.enter_context(maps.open_pinned(pins.map_path(name))) for name in pinned}
        try:
            for spec in loading.specs().values():
                pins.check_layouts(layout_hashes(spec))
        except EbpfMeshError:
            pass  # of another version: its open connections are judged by what is in force until they close
        else:
            tables = Tables(those)
            opened.callback(tables.close)
            _drain_all(tables)
        left = sockets.enrolled(those[SOCKETS])
    if left:
        begin(pins)
    return left


def _drain_all(tables: Tables) -> None:
    since = tables.generation + 1
    versions = {number: Version.unpack(tables.current(number)) for number in tables.numbers()}
    present = {number: one for number, one in versions.items() if one.flags & ServiceFlag.PRESENT}
    tables.grace_period()
    for number, version in present.items():
        tables.prepare(number, drained(version.protocol).pack())
    for number in present:
        tables.publish(number, since)
    tables.flip(since)


def _destroy(pins: PinDirectory, number: int) -> int:
    """Destroy what is enrolled in this set; how many sockets stay."""
    from ebpfmesh import maps

    with ExitStack() as opened:
        marks: Any = opened.enter_context(maps.open_pinned(pins.path / DRAINING / f"{number}-l7_marks"))
        spec = loading.specs([loading.FIRST])[loading.FIRST]
        program = loading.list_with(spec, {"l7_marks": marks}, "list_marks", closing=opened)
        _, stay = sockets.destroy(sockets.listed(program.fd, marks.fd))
    return len(stay)
