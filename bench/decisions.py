"""Services with any number of rules, and what one decision takes the kernel: without a socket, by BPF_PROG_TEST_RUN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ebpfmesh import Backend, Config, Service

_KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
_PLACE = 1  # of the service in its table
AGENT = "wrk/4.1.0"
"""What the client calls itself: the rules look at it and refuse others."""


def node(number: int) -> str:
    """The path below which a group of rules is."""
    return f"/tenant{number}"


def service(rules: int, each: int, name: str, address: tuple[str, int], backend: tuple[str, int]) -> Service:
    """A service of so many rules, ``each`` of them at every node: all but the last refuse others, and the last allows."""
    from ebpfmesh.policy import HeaderMatch, Rule

    made = []
    for number in range(rules):
        at, place = divmod(number, each)
        paths = (f"{node(at)}/**",)
        if place == min(each, rules - at * each) - 1:
            made.append(Rule(f"r{number}", action="allow", methods=("GET",), paths=paths))
        elif place % 2:
            made.append(Rule(f"r{number}", action="deny", methods=("PUT", "DELETE"), paths=paths))
        else:
            header = HeaderMatch(name="user-agent", prefix=f"bad{number}")
            made.append(Rule(f"r{number}", action="deny", paths=paths, headers=(header,)))
    return Service(
        name,
        addresses=(f"{address[0]}:{address[1]}",),
        backends=(Backend(f"{backend[0]}:{backend[1]}"),),
        l7="http1",
        rules=tuple(made),
    )


def nodes(rules: int, each: int) -> int:
    """How many nodes of a service have as many rules as they are to have."""
    return max(1, rules // each)


class Numbers:
    """Places in tables that nobody else uses."""

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self.rows: dict[str, dict[int | bytes, bytes]] = {}
        self._shared: dict[tuple[str, tuple[bytes, ...]], int] = {}

    def take(self, table: str, count: int = 1) -> int:
        """The first of ``count`` new elements."""
        first = self.used[table] + 1
        self.used[table] += count
        return first

    def shared(self, table: str, rows: Sequence[bytes]) -> int:
        """The first of elements with this content."""
        key = table, tuple(rows)
        if key not in self._shared:
            first = self._shared[key] = self.take(table, len(rows))
            self.rows.setdefault(table, {}).update(enumerate(rows, first))
        return self._shared[key]

    def named(self, kind: str, name: str, action: int = 0) -> int:
        """A number; names are not looked at here."""
        del name, action
        return self.take(kind)


class Decisions:
    """One service in the kernel."""

    def __init__(self, engine: Any, policy: int) -> None:
        self._engine, self._policy = engine, policy

    def nanoseconds(self, path: str, repeat: int) -> int:
        """What one decision takes. RuntimeError if the request is refused."""
        from ebpfmesh.harness.decision import Asked, Source

        agent = {12: AGENT.encode()}  # HTTP_USER_AGENT
        asked = Asked.of(path=path.encode(), host=b"web", others=agent)
        decided = self._engine.decide(asked, service=_PLACE, source=Source((1,)))
        if not decided.allowed:
            raise RuntimeError(f"{path} is refused: {decided}")
        context = {"service": _PLACE, "policy": decided.policy, "workload": decided.workload}
        return int(self._engine.measure(asked, repeat=repeat, **context).nanoseconds)


@contextmanager
def installed(one: Service) -> Iterator[Decisions]:
    """Compile the service and load the decision with tables that have room for it."""
    from ebpfmesh.harness import decision
    from ebpfmesh.policy.compile import compile_service

    numbers = Numbers()
    compiled = compile_service(one, Config("bench", cgroup="/", services=(one,)), numbers, key=_KEY)
    tables = {name: dict(rows) for name, rows in compiled.tables.items()}
    for name, rows in numbers.rows.items():
        tables.setdefault(name, {}).update(rows)
    room = {name: max(64, 2 * _most(rows)) for name, rows in tables.items() if name in _SIZED}
    with decision.load(capacities=room) as engine:
        engine.install(compiled.version, tables, service=_PLACE, key=_KEY)
        yield Decisions(engine, 0)


# tables whose size comes from the rules; the tier makes twice the room that is needed, as here
_SIZED = {
    "l7_policies", "l7_path_states", "l7_lists", "l7_rules", "l7_conditions", "l7_sources", "l7_paths", "l7_segments",
}  # fmt: skip


def _most(rows: dict[int | bytes, bytes]) -> int:
    """Elements that an array needs for these rows, or a hash."""
    return max((key for key in rows if isinstance(key, int)), default=len(rows)) + 1
