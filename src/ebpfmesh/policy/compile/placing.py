"""A service's draft under numbers: every element as the kernel reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import TYPE_CHECKING, Literal, Protocol

from ebpfmesh.errors import ConfigError
from ebpfmesh.l7.contract import Config as ParserConfig
from ebpfmesh.policy import render, wire
from ebpfmesh.policy.compile.draft import ServiceDraft
from ebpfmesh.policy.compile.entry import Entry
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.reply import standard
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.siphash import segment_digest, siphash
from ebpfmesh.policy.wire import Action, LimitKey, ServiceFlag

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.policy.siphash import Key

Kind = Literal["rule", "limit", "route", "workload"]
Element = tuple[str, int]


class Numbers(Protocol):
    """Where a service's elements and numbers come from; the tier's, so that nothing that is in use is given out."""

    def take(self, table: str, count: int = 1) -> int:
        """The first of ``count`` free elements in a row, never 0; "rules" is the number of a rule set. CapacityError."""

    def shared(self, table: str, rows: Sequence[bytes]) -> int:
        """The first of elements with exactly this content, the same for whoever asks for it. CapacityError."""

    def named(self, kind: Kind, name: str, action: int = 0) -> int:
        """The number of a name, from 1 on, the same as long as the name is in force."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a service is in the kernel: to be written before the service's version points to it."""

    version: bytes
    """``struct l7_service``; its digest is 0."""
    tables: Mapping[str, Mapping[int | bytes, bytes]]
    """Elements by number, and elements of hashes by key. Shared ones are where `Numbers` has put them."""


_PROTOCOLS = {
    None: wire.Protocol.OPAQUE,
    "http1": wire.Protocol.HTTP1,
    "http2": wire.Protocol.HTTP2,
    "grpc": wire.Protocol.HTTP2,
}
_UNDECODABLE = {"refuse": 0, "pass": 1, "proxy": 2}
_LIMIT_KEYS = {
    "service": LimitKey.SERVICE,
    "client-address": LimitKey.ADDRESS,
    "identity": LimitKey.IDENTITY,
}


@dataclass(slots=True)
class Placing:
    """One service, becoming elements."""

    service: Service
    config: Config
    draft: ServiceDraft
    numbers: Numbers
    key: Key
    where: str
    tables: dict[str, dict[int | bytes, bytes]] = field(default_factory=dict)

    def placed(self, identities: int) -> Compiled:
        """All of it; each part needs the numbers of the one before it."""
        http = self.service.http
        refusal = self._reply(http.default_reply, 403, f"{self.where}.http.default_reply")
        lists = self._lists(self._rules(refusal))
        policies = self._policies(lists, self._states(lists))
        rules = self.numbers.take("rules")
        self._sources(rules, policies)
        version = wire.SERVICE.pack(
            0,
            int(self._flags()),
            _PROTOCOLS[self.service.l7],
            _UNDECODABLE[http.undecodable],
            min(round(http.sample * 65536), 65535),
            rules,
            policies[self.draft.classes.default],
            self._parser_config(),
            self._insert(),
            refusal,
            self._reply(http.bad_path_reply, 400, f"{self.where}.http.bad_path_reply"),
            self._reply(http.undecodable_reply, 400, f"{self.where}.http.undecodable_reply"),
            identities,
        )
        return Compiled(version, self.tables)

    def _put(self, table: str, key: int | bytes, element: bytes) -> None:
        self.tables.setdefault(table, {})[key] = element

    # --- rules --------------------------------------------------------------------------------------------------------

    def _rules(self, refusal: int) -> list[list[int]]:
        """The elements of each entry's parts."""
        count = sum(len(entry.parts) for entry in self.draft.entries)
        first = self.numbers.take("l7_rules", count) if count else 0
        found = []
        for entry in self.draft.entries:
            number = self.numbers.named("rule", entry.name, entry.action)
            reply, argument = self._reply_of(entry, refusal), self._argument(entry)
            flags = wire.RULE_OPEN if _is_open(entry) else 0
            found.append([*range(first, first + len(entry.parts))])
            for element, part in enumerate(entry.parts, first):
                conditions = [self.numbers.shared("l7_conditions", [one.pack()]) for one in part.conditions]
                conditions += [0] * (wire.CONDITIONS - len(conditions))
                row = wire.RULE.pack(entry.action, flags, part.methods, number, reply, argument, *conditions)
                self._put("l7_rules", element, row)
            first += len(entry.parts)
        return found

    def _argument(self, entry: Entry) -> int:
        model = entry.model
        if entry.action is Action.ROUTE:
            return self.numbers.named("route", entry.name, entry.action)
        if isinstance(model, Limit):
            return self._limit(model, entry)
        if isinstance(model, Fault):
            share = round(model.percentage / 100 * (1 << 32))
            return wire.ALWAYS if model.percentage >= 100 else min(share, wire.ALWAYS - 1)
        return 0

    def _limit(self, limit: Limit, entry: Entry) -> int:
        interval = limit.per.interval
        field_of_key = self.draft.limit_fields.get(limit.name, 0)
        key = _LIMIT_KEYS.get(limit.key) if limit.header is None else LimitKey.FIELD
        if key is None:
            raise ConfigError(
                f"{limit.key!r} is no key of a limit",
                where=f"{entry.where}.key",
                remedy=f"one of: {', '.join(_LIMIT_KEYS)}, header:NAME",
            )
        element = self.numbers.take("l7_limits")
        number = self.numbers.named("limit", limit.name, entry.action)
        burst = (limit.tokens - 1) * interval
        self._put("l7_limits", element, wire.LIMIT.pack(interval, burst, key, field_of_key, 0, number))
        return element

    # --- lists, states, policies, sources -----------------------------------------------------------------------------

    def _lists(self, rules: list[list[int]]) -> list[int]:
        """The element of each list of the draft; 0 is the empty one's."""
        if not self.draft.lists:
            return [0]
        first = self.numbers.take("l7_lists", len(self.draft.lists))
        for element, members in enumerate(self.draft.lists, first):
            held = [rule for member in members for rule in rules[member]]
            row = wire.LIST.pack(len(held), *held, *[0] * (wire.RULES_IN_LIST - len(held)))
            self._put("l7_lists", element, row)
        return [0, *range(first, first + len(self.draft.lists))]

    def _states(self, lists: list[int]) -> list[int]:
        """The element of each state of the draft; 0 is none."""
        states = self.draft.states
        if not states:
            return [0]
        first = self.numbers.take("l7_path_states", len(states))
        placed = [0, *range(first, first + len(states))]
        hashes: dict[bytes, int] = {}
        for element, state in enumerate(states, first):
            leaf = not state.other and not state.edges
            row = wire.PATH_STATE.pack(placed[state.other], lists[state.here], lists[state.deeper], leaf)
            self._put("l7_path_states", element, row)
            for segment, target in state.edges:
                if segment not in hashes:
                    hashes[segment] = segment_digest(self.key, segment)
                key = wire.SEGMENT_KEY.pack(element, len(segment), hashes[segment])
                self._put("l7_segments", key, wire.INDEX.pack(placed[target]))
        return placed

    def _policies(self, lists: list[int], states: list[int]) -> dict[frozenset[int], int]:
        first = self.numbers.take("l7_policies", len(self.draft.policies))
        found = {}
        hashes: dict[bytes, int] = {}
        for element, (members, policy) in enumerate(self.draft.policies.items(), first):
            flags = wire.POLICY_EXACT if policy.exact else 0
            row = wire.POLICY.pack(states[policy.root], lists[policy.list], flags)
            self._put("l7_policies", element, row)
            found[members] = element
            for path, number in policy.exact.items():
                if path not in hashes:
                    hashes[path] = siphash(self.key, path)
                key = wire.PATH_KEY.pack(element, len(path), hashes[path])
                self._put("l7_paths", key, wire.INDEX.pack(lists[number]))
        return found

    def _sources(self, rules: int, policies: dict[frozenset[int], int]) -> None:
        told = self.draft.classes
        for prefix, number in told.addresses.items():
            key = wire.ADDRESS_KEY.pack(32 + prefix.bits, rules, prefix.packed)
            self._put("l7_addresses", key, wire.INDEX.pack(number))
        for (name, address, port), members in told.rows.items():
            workload = self.numbers.named("workload", name) if name else 0
            key = wire.SOURCE_KEY.pack(rules, workload, address, port)
            self._put("l7_sources", key, wire.INDEX.pack(policies[members]))

    # --- the service itself -------------------------------------------------------------------------------------------

    def _flags(self) -> ServiceFlag:
        service, http, told = self.service, self.service.http, self.draft.classes
        on_error = service.on_error if service.l7 is None else http.on_error
        asked = {
            ServiceFlag.UNJUDGED_PASSES: http.unjudged == "fail_open",
            ServiceFlag.PARTIAL_DROPS: http.denied_midway == "drop",
            ServiceFlag.OUTSTANDING_DROPS: http.denied_behind == "drop",
            ServiceFlag.ERRORS_PASS: on_error == "fail_open",
            ServiceFlag.TRACES: http.trace,
            ServiceFlag.HAS_PATHS: self.draft.has_paths,
            ServiceFlag.KEEPS_PARAMETERS: http.path_parameters == "keep",
            ServiceFlag.HAS_ALLOW: any(rule.action == "allow" for rule in service.rules),
            ServiceFlag.ASKS_WORKLOAD: told.asks_workload,
            ServiceFlag.ASKS_ADDRESS: told.asks_address,
            ServiceFlag.ASKS_PORT: told.asks_port,
            ServiceFlag.IS_GRPC: service.l7 == "grpc",
        }
        flags = ServiceFlag.PRESENT
        for flag, is_set in asked.items():
            flags |= flag if is_set else ServiceFlag(0)
        return flags

    def _parser_config(self) -> int:
        fields = self.draft.fields
        if fields is None:
            return 0
        config = ParserConfig(names=fields.names, key=pack("<2Q", *self.key))
        return self.numbers.shared("l7_configs", [config.pack()])

    def _insert(self) -> int:
        headers = self.service.http.set_headers
        if not headers or self.service.l7 is None:
            return 0
        row = render.insert(headers, where=f"{self.where}.http.set_headers")
        return self.numbers.shared("l7_inserts", [row])

    def _reply_of(self, entry: Entry, refusal: int) -> int:
        model = entry.model
        where = f"{entry.where}.reply"
        if isinstance(model, Rule):
            return (
                refusal
                if model.action != "deny" or model.reply is None
                else self._reply(model.reply, 403, where)
            )
        if isinstance(model, Limit):
            return self._reply(model.reply, 429, where, retries=True)
        if isinstance(model, Fault):
            return self._reply(model.reply, 503 if model.status is None else model.status, where)
        return 0

    def _reply(self, name: str | None, status: int, where: str, *, retries: bool = False) -> int:
        """The element of a reply: the one of that name, else the standard one; 0 without ``l7``."""
        if self.service.l7 is None:
            return 0
        if name is None:
            reply = standard(status)
        else:
            position = next((at for at, one in enumerate(self.config.replies) if one.name == name), None)
            if position is None:
                raise ConfigError(f"there is no reply {name!r}", where=where, remedy="add it to [[replies]]")
            reply, where = self.config.replies[position], f"$.replies[{position}]"
        return self.numbers.shared("l7_replies", render.render(reply, retries=retries, where=where).rows)


def _is_open(entry: Entry) -> bool:
    """Whether what cannot be told is for the request; a route or a fault does not match then, since open rules do not."""
    if isinstance(entry.model, Rule):
        return entry.model.on_error == "fail_open"
    return not isinstance(entry.model, Limit)
