"""A fake kernel for tests without root: the L7 tier's policy maps in memory, and all that a request would be judged by.

`fake_l7_maps` stands in for the open maps; `judged_by` reads what ``authorise/decide.h`` would reach from a service, but
for the numbers that the agent chose, so that a test can ask after every single write what a request would see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

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
    SERVICE,
    SOURCE_KEY,
    Action,
)
from ebpfmesh.testing.fake_kernel import FakeArray, FakeHash
from ebpfmesh.tiers.l7 import loading
from ebpfmesh.tiers.l7.tables import ARRAYS, HASHES, NAMES
from ebpfmesh.tiers.l7.wire import NAME_ENTRY, REPLY_ELEMENTS, SERVICE_ENTRY_SIZE, WORKLOAD_KEY, Version

if TYPE_CHECKING:
    from ebpfmesh.spec import MapSpec

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


class Array(FakeArray):
    """An array map that says how large its elements are."""

    def __init__(self, value_size: int, max_entries: int) -> None:
        super().__init__(value_size, max_entries)
        self.value_size = value_size

    def element(self, index: int) -> bytes:
        """One element, without what it is rounded up by."""
        start = index * (-(-self.value_size // 8) * 8)
        return bytes(self.memory[start : start + self.value_size])


FakeL7 = Mapping[str, Any]


def fake_l7_maps(**capacities: int) -> FakeL7:
    """The policy maps, empty but for the key; ``capacities`` by name, otherwise ``l7_services=8`` and 256 of the rest."""
    declared = _declared()
    room = {name: min(declared[name].max_entries, 256) for name in (*ARRAYS, *HASHES, "l7_buckets")}
    room |= {"l7_services": 8, **capacities}
    maps: dict[str, Any] = {name: Array(declared[name].value_size, room[name]) for name in ARRAYS}
    maps |= {name: FakeHash(*sizes, room[name]) for name, sizes in HASHES.items()}
    maps["l7_buckets"] = FakeHash(declared["l7_buckets"].key_size, 8, room["l7_buckets"])
    maps["l7_settings"].memory[8:24] = b"".join(one.to_bytes(8, "little") for one in KEY)
    return maps


@cache
def _declared() -> dict[str, MapSpec]:
    return {name: one for spec in loading.specs().values() for name, one in spec.maps.items()}


def judged_by(maps: FakeL7, service: int) -> Any:
    """Everything that a request to the service is judged by; None if nobody judges it, "passes" while it drains."""
    raw = maps["l7_services"].memory[service * SERVICE_ENTRY_SIZE : (service + 1) * SERVICE_ENTRY_SIZE]
    word, generation = (int.from_bytes(one[:8], "little") for one in (raw, maps["l7_settings"].memory))
    index = (word & 1) ^ (word >> 1 > generation)
    start = 8 + index * SERVICE.size
    version = Version.unpack(bytes(raw[start : start + SERVICE.size]))
    if not version.flags & 1:
        return None
    return _View(maps).service(version) if version.judges else "passes"


class _View:
    """The tables without their numbers. AssertionError at whatever leads nowhere."""

    def __init__(self, maps: FakeL7) -> None:
        self.maps = maps

    def service(self, version: Version) -> Any:
        addresses = {
            INDEX.unpack(value)[0]: (bits - 32, address)
            for key, value in self.maps["l7_addresses"].elements.items()
            for bits, rules, address in [ADDRESS_KEY.unpack(key)]
            if rules == version.rules
        }
        sources = {}
        for key, value in self.maps["l7_sources"].elements.items():
            rules, workload, address, port = SOURCE_KEY.unpack(key)
            if rules == version.rules:
                who = self._name("workload", workload) if workload else None
                sources[who, addresses.get(address, address), port] = self._policy(INDEX.unpack(value)[0])
        workloads = {
            cgroup: self._name("workload", INDEX.unpack(value)[0])
            for key, value in self.maps["l7_workloads"].elements.items()
            for cgroup, identities in [WORKLOAD_KEY.unpack(key)]
            if identities == version.identities
        }
        plain = (version.digest, version.flags, version.protocol, version.undecodable, version.sample)
        replies = [self._reply(one) for one in (version.refusal, version.bad_path, version.undecodable_reply)]
        rest = self._element("l7_configs", version.config), self._element("l7_inserts", version.insert)
        return plain, replies, rest, sources, self._policy(version.policy), workloads

    def _policy(self, number: int) -> Any:
        if not number:
            return None
        root, rules, flags = POLICY.unpack(self._element("l7_policies", number))
        paths = {
            PATH_KEY.unpack(key)[1:]: self._list(INDEX.unpack(value)[0])
            for key, value in self.maps["l7_paths"].elements.items()
            if PATH_KEY.unpack(key)[0] == number
        }
        return flags, self._list(rules), paths, self._state(root, ())

    def _state(self, number: int, above: tuple[int, ...]) -> Any:
        if not number:
            return None
        if number in above:
            return "again", above[::-1].index(number)
        other, here, deeper, leaf = PATH_STATE.unpack(self._element("l7_path_states", number))
        below = (*above, number)
        edges = {
            SEGMENT_KEY.unpack(key)[1:]: self._state(INDEX.unpack(value)[0], below)
            for key, value in self.maps["l7_segments"].elements.items()
            if SEGMENT_KEY.unpack(key)[0] == number
        }
        return self._state(other, below), self._list(here), self._list(deeper), leaf, edges

    def _list(self, number: int) -> Any:
        if not number:
            return None
        count, *rules = LIST.unpack(self._element("l7_lists", number))
        return [self._rule(one) for one in rules[:count]]

    def _rule(self, number: int) -> Any:
        action, flags, methods, name, reply, argument, *conditions = RULE.unpack(
            self._element("l7_rules", number)
        )
        assert action, f"rule {number} is empty"
        found: Any = argument
        if action == Action.LIMIT:
            interval, burst, key, field, limit_flags, limit = LIMIT.unpack(
                self._element("l7_limits", argument)
            )
            assert interval, f"limit {argument} is empty"
            found = interval, burst, key, field, limit_flags, self._name("limit", limit)
        elif action == Action.ROUTE:
            found = self._name("route", argument)
        texts = [self._element("l7_conditions", one) for one in conditions if one]
        return action, flags, methods, self._name("rule", name), self._reply(reply), found, texts

    def _reply(self, number: int) -> Any:
        if not number:
            return None
        return [self._element("l7_replies", number + one) for one in range(REPLY_ELEMENTS)]

    def _name(self, kind: str, number: int) -> str:
        raw: bytes = NAME_ENTRY.unpack(self._element(NAMES[kind], number))[2]
        assert raw.strip(b"\0"), f"{kind} {number} has no name"
        return raw.rstrip(b"\0").decode()

    def _element(self, table: str, number: int) -> bytes:
        read: Callable[[int], bytes] = self.maps[table].element
        return read(number)
