"""What a version of a service leads to, found by walking the kernel's tables: for the agent that takes over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ebpfmesh.policy.wire import (
    ADDRESS_KEY,
    INDEX,
    LIMIT,
    LIST,
    PATH_KEY,
    PATH_STATE,
    POLICY,
    RULE,
    SEGMENT_KEY,
    SOURCE_KEY,
    Action,
)
from ebpfmesh.tiers.l7.numbers import Holding, Name, Run
from ebpfmesh.tiers.l7.tables import HASHES, NAMES
from ebpfmesh.tiers.l7.wire import NAME_ENTRY, REPLY_ELEMENTS, WORKLOAD_KEY, Version

if TYPE_CHECKING:
    from ebpfmesh.tiers.l7.tables import Tables

Reached = dict[str, set[int]]
"""Elements, by table."""


class Reach:
    """The hashes of the tier, read once, and the walks over them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.lengths: dict[Run, int] = {}
        self.contents: dict[Run, tuple[bytes, ...]] = {}
        self.names: dict[Name, int] = {}
        self._by_first: dict[str, dict[int, list[tuple[bytes, int]]]] = {}
        for name, number in (("l7_sources", 0), ("l7_paths", 0), ("l7_segments", 0), ("l7_addresses", 1)):
            self._by_first[name] = self._grouped(name, number)
        self.workloads: dict[int, dict[int, int]] = defaultdict(dict)
        """Number of the table of workloads -> cgroup -> number of the workload."""
        for key, value in tables.elements("l7_workloads"):
            cgroup, identities = WORKLOAD_KEY.unpack(key)
            self.workloads[identities][cgroup] = INDEX.unpack(value)[0]
        self._used: dict[str, set[bytes]] = {name: set() for name in HASHES}

    def holding(self, service: int, version: Version) -> Holding:
        """All that ``version`` of the service with that number uses."""
        reached: Reached = defaultdict(set)
        keys: dict[str, list[bytes]] = defaultdict(list)
        names: list[Name] = []
        self._sources(version, reached, keys, names)
        self._paths(reached, keys)
        self._rules(service, version, reached, names)
        runs = [(table, index) for table, indices in reached.items() for index in sorted(indices) if index]
        if version.rules:
            runs.append(("rules", version.rules))
        for run in runs:
            self._describe(run)
        for table, found in keys.items():
            self._used[table].update(found)
        return Holding(runs, list(dict.fromkeys(names)), dict(keys))

    def workload_holding(self, identities: int) -> Holding:
        """What the table of workloads with that number uses."""
        cgroups = self.workloads.get(identities, {})
        names = [name for number in cgroups.values() for name in self._name("workload", number, 0)]
        keys = [WORKLOAD_KEY.pack(cgroup, identities) for cgroup in cgroups]
        return Holding([("identities", identities)], list(dict.fromkeys(names)), {"l7_workloads": keys})

    def strays(self) -> Iterator[tuple[str, list[bytes]]]:
        """Hash keys that no holding uses, by table: of an apply that was not finished, or was not cleaned up after."""
        for table in HASHES:
            if table == "l7_workloads":
                continue  # by their number: see `installed`
            unused = [key for key, _ in self._tables.elements(table) if key not in self._used[table]]
            if unused:
                yield table, unused

    def _grouped(self, name: str, field: int) -> dict[int, list[tuple[bytes, int]]]:
        packer = {
            "l7_sources": SOURCE_KEY,
            "l7_paths": PATH_KEY,
            "l7_segments": SEGMENT_KEY,
            "l7_addresses": ADDRESS_KEY,
        }
        groups: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
        for key, value in self._tables.elements(name):
            groups[packer[name].unpack(key)[field]].append((key, INDEX.unpack(value)[0]))
        return groups

    def _sources(
        self, version: Version, reached: Reached, keys: dict[str, list[bytes]], names: list[Name]
    ) -> None:
        reached["l7_policies"].add(version.policy)
        for key, policy in self._by_first["l7_sources"].get(version.rules, ()):
            keys["l7_sources"].append(key)
            names += self._name("workload", SOURCE_KEY.unpack(key)[1], 0)
            reached["l7_policies"].add(policy)
        keys["l7_addresses"] += [key for key, _ in self._by_first["l7_addresses"].get(version.rules, ())]

    def _paths(self, reached: Reached, keys: dict[str, list[bytes]]) -> None:
        states: list[int] = []
        for policy in reached["l7_policies"] - {0}:
            root, rules, _ = POLICY.unpack(self._tables.read("l7_policies", policy))
            states.append(root)
            reached["l7_lists"].add(rules)
            for key, found in self._by_first["l7_paths"].get(policy, ()):
                keys["l7_paths"].append(key)
                reached["l7_lists"].add(found)
        while states:
            state = states.pop()
            if not state or state in reached["l7_path_states"]:
                continue
            reached["l7_path_states"].add(state)
            other, here, deeper, _ = PATH_STATE.unpack(self._tables.read("l7_path_states", state))
            reached["l7_lists"].update((here, deeper))
            states.append(other)
            for key, following in self._by_first["l7_segments"].get(state, ()):
                keys["l7_segments"].append(key)
                states.append(following)

    def _rules(self, service: int, version: Version, reached: Reached, names: list[Name]) -> None:
        for element in reached["l7_lists"] - {0}:
            count, *rules = LIST.unpack(self._tables.read("l7_lists", element))
            reached["l7_rules"].update(rules[:count])
        for element in reached["l7_rules"] - {0}:
            action, _, _, number, reply, argument, *conditions = RULE.unpack(
                self._tables.read("l7_rules", element)
            )
            reached["l7_conditions"].update(conditions)
            reached["l7_replies"].add(reply)
            names += self._name("rule", number, service)
            if action == Action.LIMIT:
                reached["l7_limits"].add(argument)
                *_, limit = LIMIT.unpack(self._tables.read("l7_limits", argument))
                names += self._name("limit", limit, service)
            elif action == Action.ROUTE:
                names += self._name("route", argument, service)
        reached["l7_configs"].add(version.config)
        reached["l7_inserts"].add(version.insert)
        reached["l7_replies"].update((version.refusal, version.bad_path, version.undecodable_reply))

    def _name(self, kind: str, number: int, service: int) -> Iterable[Name]:
        if not 0 < number < self._tables.capacity(NAMES[kind]):
            return
        _, _, raw = NAME_ENTRY.unpack(self._tables.read(NAMES[kind], number))
        text = raw.rstrip(b"\0").decode("utf-8", "replace")
        if text:
            name = (kind, service, text)
            self.names[name] = number
            yield name

    def _describe(self, run: Run) -> None:
        table, first = run
        if table in ("l7_replies", "l7_inserts", "l7_configs", "l7_conditions") and run not in self.contents:
            length = REPLY_ELEMENTS if table == "l7_replies" else 1
            self.lengths[run] = length
            self.contents[run] = tuple(self._tables.read(table, first + number) for number in range(length))
