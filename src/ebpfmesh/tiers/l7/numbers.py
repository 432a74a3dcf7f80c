"""Elements of the tables and numbers for names: given out, counted by who uses them, and given back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.tiers.connect.extents import Extents
from ebpfmesh.tiers.connect.ids import Ids
from ebpfmesh.tiers.l7.tables import ELEMENTS, NAMES
from ebpfmesh.tiers.l7.wire import NAME_BYTES, NAME_ENTRY

if TYPE_CHECKING:
    from ebpfmesh.tiers.l7.tables import Tables

Kind = Literal["rule", "limit", "route", "workload"]
Run = tuple[str, int]
"""(table, first element) of elements that were taken together."""
Name = tuple[str, int, str]
"""(kind, number of the service or 0, text)."""

_RULE_SETS = 1 << 31  # numbers of rule sets and of tables of workloads are no elements of a map
_SETS = ("rules", "identities")


@dataclass(slots=True)
class Holding:
    """What one version of a service uses: nothing of it is given out again before the version is gone."""

    runs: list[Run] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    keys: dict[str, list[bytes]] = field(default_factory=dict)
    """Keys of the hashes."""


class Stock:
    """All elements and numbers of the tier, by whether somebody uses them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._uses: Counter[Run] = Counter()
        self._lengths: dict[Run, int] = {}
        self._elements: dict[str, Extents] = {}
        self._contents: dict[Run, tuple[bytes, ...]] = {}
        self._shared: dict[tuple[str, tuple[bytes, ...]], int] = {}
        self._sets: dict[str, Ids] = {}
        self._names: dict[Name, int] = {}
        self._name_uses: Counter[Name] = Counter()
        self._name_ids: dict[str, Ids] = {}
        self._used_keys: Counter[str] = Counter()

    # --- what is in force, at the start ------------------------------------------------------------------------------

    def adopt(self, holding: Holding, lengths: dict[Run, int], names: dict[Name, int]) -> None:
        """Count what a predecessor's version uses; `settle` follows when all are counted."""
        for run in holding.runs:
            self._uses[run] += 1
            self._lengths[run] = lengths.get(run, 1)
        for name in holding.names:
            self._name_uses[name] += 1
            self._names[name] = names[name]
        self._count_keys(holding, 1)

    def settle(self, contents: dict[Run, tuple[bytes, ...]]) -> None:
        """From here on elements and numbers are given out; ``contents`` of those that may be shared."""
        for table in ELEMENTS:
            used = [(run[1], length) for run, length in self._lengths.items() if run[0] == table]
            self._elements[table] = Extents(self._tables.capacity(table), used=[(0, 1), *used])
        for kind in _SETS:
            used_sets = [first for table, first in self._lengths if table == kind]
            self._sets[kind] = Ids(kind, _RULE_SETS, first=1, used=used_sets)
        for kind, table in NAMES.items():
            numbers = [number for name, number in self._names.items() if name[0] == kind]
            self._name_ids[kind] = Ids(f"{kind} names", self._tables.capacity(table), first=1, used=numbers)
        for run, rows in contents.items():
            self._remember(run, rows)

    # --- giving out ---------------------------------------------------------------------------------------------------

    def take(self, table: str, count: int = 1) -> Run:
        """Elements in a row that nobody uses. CapacityError."""
        if table in self._sets:
            run = table, self._sets[table].take()
        else:
            try:
                run = table, self._elements[table].take(count)
            except CapacityError:
                available = self._elements[table].available
                raise CapacityError(
                    f"{count} elements of {table} are needed: {available} of {self._tables.capacity(table)} are free",
                    remedy="the L7 tables are made for twice what the configuration needs: `ebpfmesh stop`, then `run`",
                ) from None
        self._uses[run] = 1
        self._lengths[run] = count
        return run

    def share(self, table: str, rows: Sequence[bytes]) -> tuple[Run, bool]:
        """Elements with exactly this content, and whether they are new and have to be written."""
        content = tuple(rows)
        first = self._shared.get((table, content))
        if first is not None:
            self._uses[table, first] += 1
            return (table, first), False
        run = self.take(table, len(content))
        self._remember(run, content)
        return run, True

    def name(self, name: Name) -> int:
        """The number of a name."""
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = self._name_ids[name[0]].take()
        self._name_uses[name] += 1
        return number

    def hold_keys(self, holding: Holding) -> None:
        """Count the hash keys of a holding. CapacityError, before anything is written, if they do not fit."""
        for table, keys in holding.keys.items():
            capacity = self._tables.capacity(table)
            if self._used_keys[table] + len(keys) > capacity:
                raise CapacityError(
                    f"{len(keys)} elements of {table} are needed: "
                    f"{capacity - self._used_keys[table]} of {capacity} are free",
                    remedy="the L7 tables are made for twice what the configuration needs: `ebpfmesh stop`, then `run`",
                )
        self._count_keys(holding, 1)

    # --- taking back ----------------------------------------------------------------------------------------------------

    def release(self, holding: Holding, *, keys: bool = True) -> list[tuple[str, int]]:
        """Nobody reads the holding any more; returns the (kind, number) of the names that are free now."""
        for run in holding.runs:
            self._uses[run] -= 1
            if not self._uses[run]:
                self._give_back(run)
        gone = []
        for name in holding.names:
            self._name_uses[name] -= 1
            if not self._name_uses[name]:
                del self._name_uses[name]
                number = self._names.pop(name)
                self._name_ids[name[0]].give_back(number)
                gone.append((name[0], number))
        if keys:
            self._count_keys(holding, -1)
        return gone

    def numbers(self, kind: str) -> dict[tuple[int, str], int]:
        """(service, text) -> number, of the names of a kind that are in use."""
        return {name[1:]: number for name, number in self._names.items() if name[0] == kind}

    def _give_back(self, run: Run) -> None:
        table, first = run
        del self._uses[run]
        length = self._lengths.pop(run)
        if content := self._contents.pop(run, None):
            self._shared.pop((table, content), None)
        if table in self._sets:
            self._sets[table].give_back(first)
        else:
            self._elements[table].give_back(first, length)

    def _remember(self, run: Run, content: tuple[bytes, ...]) -> None:
        self._contents[run] = content
        self._shared[run[0], content] = run[1]

    def _count_keys(self, holding: Holding, sign: int) -> None:
        for table, keys in holding.keys.items():
            self._used_keys[table] += sign * len(keys)


class Numbers:
    """What the compiler of one service is given: it takes from the stock, and notes what it took."""

    def __init__(self, stock: Stock, service: int) -> None:
        self._stock, self._service = stock, service
        self.holding = Holding()
        self.rows: dict[str, dict[int, bytes]] = {}
        """Shared elements and names that are new: to be written."""

    def take(self, table: str, count: int = 1) -> int:
        """The first of ``count`` elements in a row that nobody uses. CapacityError."""
        run = self._stock.take(table, count)
        self.holding.runs.append(run)
        return run[1]

    def shared(self, table: str, rows: Sequence[bytes]) -> int:
        """The first of elements with exactly this content; whoever asks for the same shares them."""
        run, fresh = self._stock.share(table, rows)
        self.holding.runs.append(run)
        if fresh:
            self._write(table, run[1], rows)
        return run[1]

    def named(self, kind: Kind, name: str, action: int = 0) -> int:
        """The number of a name, the same as long as it is in force; workloads are the mesh's, others the service's."""
        raw = name.encode()
        if kind == "workload" and len(raw) >= NAME_BYTES:  # the path of a cgroup
            raw = (
                raw[:40].decode("utf-8", "ignore").encode()
                + b"~"
                + blake2b(raw, digest_size=8).hexdigest().encode()
            )
        if not 0 < len(raw) < NAME_BYTES:
            raise ConfigError(f"{name!r} is no name of 1 to {NAME_BYTES - 1} bytes", where=f"{kind} {name}")
        name = raw.decode()
        service = 0 if kind == "workload" else self._service
        number = self._stock.name((kind, service, name))
        self.holding.names.append((kind, service, name))
        self._write(NAMES[kind], number, [NAME_ENTRY.pack(service, action, raw)])
        return number

    def _write(self, table: str, first: int, rows: Iterable[bytes]) -> None:
        self.rows.setdefault(table, {}).update(enumerate(rows, first))
