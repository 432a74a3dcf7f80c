"""The compiled tables, read as the kernel reads them: what ``authorise/*.h`` does, in Python, element by element.

It knows the layouts and the order of look-ups, and nothing of the model: where it agrees with `ebpfmesh.policy.reference`,
the tables mean what the model says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from ebpfmesh.policy import wire
from ebpfmesh.policy.compile import Compiled
from ebpfmesh.policy.path import BadPath, normalise
from ebpfmesh.policy.reference import HOST, METHOD, PATH, Reason, Request
from ebpfmesh.policy.siphash import Key, segment_digest, siphash


class Shelf:
    """Numbers for one mesh, as the tier gives them: free elements, shared rows, names. Never the same number twice."""

    def __init__(self) -> None:
        self.next: Counter[str] = Counter()
        self.rows: dict[str, dict[int, bytes]] = {}
        self.names: dict[tuple[str, str], int] = {}
        self._shared: dict[tuple[str, tuple[bytes, ...]], int] = {}

    def take(self, table: str, count: int = 1) -> int:
        """Free elements in a row; the first of a table is 3, so that 1 and 2 are wrong."""
        assert count > 0
        first = 3 + self.next[table]
        self.next[table] += count
        return first

    def shared(self, table: str, rows: Sequence[bytes]) -> int:
        """Elements of this content."""
        key = table, tuple(rows)
        if key not in self._shared:
            first = self._shared[key] = self.take(table, len(rows))
            self.rows.setdefault(table, {}).update(enumerate(rows, first))
        return self._shared[key]

    def named(self, kind: str, name: str, action: int = 0) -> int:
        """The number of a name."""
        assert kind in ("rule", "limit", "route", "workload")
        del action
        return self.names.setdefault((kind, name), len(self.names) + 1)

    def name(self, kind: str, number: int) -> str:
        """The name behind a number."""
        return next(name for (of, name), held in self.names.items() if of == kind and held == number)


class Decision(NamedTuple):
    """What the kernel would find; ``reply`` is an element of ``l7_replies``, the others are names."""

    allowed: bool
    reason: Reason
    rule: str | None
    audited: bool
    route: str | None
    limits: tuple[str, ...]
    faults: tuple[str, ...]
    reply: int


class _Rule(NamedTuple):
    action: int
    flags: int
    methods: int
    number: int
    reply: int
    argument: int
    conditions: tuple[int, ...]


@dataclass
class _State:
    allowed: bool = False
    reason: Reason = Reason.NOT_DECIDED
    rule: int = 0
    reply: int = 0
    audited: bool = False
    route: int = 0
    last: int = 0
    limits: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Interpreter:
    """One compiled service, and what reads it."""

    def __init__(self, compiled: Compiled, shelf: Shelf, key: Key) -> None:
        self.shelf, self.key = shelf, key
        self.tables: dict[str, dict[Any, bytes]] = {
            table: {**shelf.rows.get(table, {}), **compiled.tables.get(table, {})}
            for table in (*shelf.rows, *compiled.tables)
        }
        (
            _,
            flags,
            self.protocol,
            self.undecodable,
            _,
            self.rules,
            self.default,
            self.config,
            _,
            self.refusal,
            self.bad_path,
            self.undecodable_reply,
            _,
        ) = wire.SERVICE.unpack(compiled.version)
        self.flags = wire.ServiceFlag(flags)
        self.registered = self._registered()

    def policy(self, workload: int, address: bytes | None, port: int) -> int:
        """The policy of a client: ``authorise/source.h``. ``address`` has 16 bytes."""
        number = 0
        if self.flags & wire.ServiceFlag.ASKS_ADDRESS and address is not None:
            number = self._address_class(int.from_bytes(address, "big"))
        key = wire.SOURCE_KEY.pack(
            self.rules,
            workload if self.flags & wire.ServiceFlag.ASKS_WORKLOAD else 0,
            number,
            port if self.flags & wire.ServiceFlag.ASKS_PORT else 0,
        )
        found = self.tables.get("l7_sources", {}).get(key)
        return self.default if found is None else int.from_bytes(found, "little")

    def decide(
        self,
        policy: int,
        request: Request | None,
        exhausted: Callable[[str], bool] = lambda name: False,
        strikes: Callable[[str, int], bool] = lambda name, argument: argument == wire.ALWAYS,
    ) -> Decision:
        """Decide about a request: ``authorise/judge.h``."""
        http1 = self.protocol == wire.Protocol.HTTP1
        if http1 and request is not None and request.scheme is not None:
            request = replace(request, repeated={*request.repeated, HOST})
        fields = _Record(request, self.registered)
        segments: tuple[bytes, ...] | None = None
        path = b""
        if request is not None and self.flags & wire.ServiceFlag.HAS_PATHS:
            keep = bool(self.flags & wire.ServiceFlag.KEEPS_PARAMETERS)
            found = fields.path(keep)
            if isinstance(found, BadPath):
                return Decision(False, Reason.BAD_PATH, None, False, None, (), (), self.bad_path)
            if found is not None:
                path, segments = found
        state = _State()
        for element in self._list(policy, path, segments):
            *head, a, b, c, d, e, f = wire.RULE.unpack(self.tables["l7_rules"][element])
            rule = _Rule(*head, (a, b, c, d, e, f))
            if self._is_due(state, rule) and self._matches(fields, rule):
                self._act(state, rule, exhausted, strikes)
        if not state.reason:
            self._default(state)
        if state.allowed and self.undecodable != _PASSES and request is not None and fields.tunnels(http1):
            state.allowed, state.reason, state.rule, state.reply = (
                False,
                Reason.TUNNELS,
                0,
                self.undecodable_reply,
            )
        return Decision(
            state.allowed, state.reason, self.shelf.name("rule", state.rule) if state.rule else None, state.audited,
            self.shelf.name("route", state.route) if state.route else None, tuple(state.limits), tuple(state.faults),
            state.reply,
        )  # fmt: skip

    def _is_due(self, state: _State, rule: _Rule) -> bool:
        if rule.action < wire.Action.AUDIT:
            return not state.reason
        if not state.reason:
            self._default(state)
        if rule.action == wire.Action.ROUTE:
            return not state.route
        return rule.action < wire.Action.LIMIT or (state.allowed and rule.number != state.last)

    def _act(
        self,
        state: _State,
        rule: _Rule,
        exhausted: Callable[[str], bool],
        strikes: Callable[[str, int], bool],
    ) -> None:
        if rule.action < wire.Action.AUDIT:
            state.allowed, state.reason, state.rule = (
                rule.action == wire.Action.ALLOW,
                Reason.BY_RULE,
                rule.number,
            )
            state.reply = 0 if state.allowed else rule.reply
        elif rule.action == wire.Action.AUDIT:
            state.audited = True
        elif rule.action == wire.Action.ROUTE:
            state.route = rule.argument
        else:
            limits, name = rule.action == wire.Action.LIMIT, self.shelf.name("rule", rule.number)
            state.last = rule.number
            (state.limits if limits else state.faults).append(name)
            if exhausted(name) if limits else strikes(name, rule.argument):
                state.allowed, state.rule, state.reply = False, rule.number, rule.reply
                state.reason = Reason.LIMITED if limits else Reason.FAULTED

    def _default(self, state: _State) -> None:
        if self.flags & wire.ServiceFlag.HAS_ALLOW:
            state.allowed, state.reason, state.reply = False, Reason.NOT_ALLOWED, self.refusal
        else:
            state.allowed, state.reason, state.reply = True, Reason.BY_DEFAULT, 0

    # --- look-ups -----------------------------------------------------------------------------------------------------

    def _address_class(self, address: int) -> int:
        found, longest = 0, -1
        for key, value in self.tables.get("l7_addresses", {}).items():
            bits, rules, packed = wire.ADDRESS_KEY.unpack(key)
            bits -= 32
            same = (int.from_bytes(packed, "big") ^ address) >> (128 - bits) == 0
            if rules == self.rules and same and bits > longest:
                found, longest = int.from_bytes(value, "little"), bits
        return found

    def _list(self, policy: int, path: bytes, segments: tuple[bytes, ...] | None) -> list[int]:
        root, number, flags = wire.POLICY.unpack(self.tables["l7_policies"][policy])
        if segments is not None:
            whole = None
            if flags & wire.POLICY_EXACT:
                key = wire.PATH_KEY.pack(policy, len(path), siphash(self.key, path))
                whole = self.tables["l7_paths"].get(key)
            if whole is not None:
                number = int.from_bytes(whole, "little")
            elif root:
                number = self._walked(root, segments)
        if not number:
            return []
        count, *rules = wire.LIST.unpack(self.tables["l7_lists"][number])
        return [int(rule) for rule in rules[:count]]

    def _walked(self, state: int, segments: tuple[bytes, ...]) -> int:
        for at in range(17):
            other, here, deeper, leaf = wire.PATH_STATE.unpack(self.tables["l7_path_states"][state])
            if at == len(segments):
                return int(here)
            if leaf or at == 16:
                return int(deeper)
            key = wire.SEGMENT_KEY.pack(state, len(segments[at]), segment_digest(self.key, segments[at]))
            after = self.tables.get("l7_segments", {}).get(key)
            if after is not None:
                state = int.from_bytes(after, "little")
            elif segments[at] and other:
                state = other
            else:
                return int(deeper)
        raise AssertionError

    # --- rules --------------------------------------------------------------------------------------------------------

    def _matches(self, fields: _Record, rule: _Rule) -> bool:
        if not rule.methods & fields.method:
            return False
        unknown = False
        for number in rule.conditions:
            if not number:
                break
            holds = self._holds(fields, number)
            if holds is False:
                return False
            unknown = unknown or holds is None
        if not unknown:
            return True
        if rule.action == wire.Action.ROUTE:
            return False
        return (rule.action == wire.Action.ALLOW) == bool(rule.flags & wire.RULE_OPEN)

    def _holds(self, fields: _Record, number: int) -> bool | None:
        field, op, flags, length, text = wire.CONDITION.unpack(self.tables["l7_conditions"][number])
        wanted = text[:length]
        assert text[length:] == bytes(len(text) - length)
        value, known = fields.field(field)
        came = value is not None or not known
        if not came or op in (wire.Op.IS_PRESENT, wire.Op.IS_ABSENT):
            return came == (op != wire.Op.IS_ABSENT)
        if not known or value is None:
            return None
        if flags & wire.ConditionFlag.WITHOUT_PORT:
            digits = len(value) - len(value.rstrip(b"0123456789"))
            if digits >= 32:
                return None
            if value[: len(value) - digits].endswith(b":"):
                value = value[: len(value) - digits - 1]
            value = value.removesuffix(b".")
        if flags & wire.ConditionFlag.FOLDS:
            value = value.lower()
        if op == wire.Op.BEGINS:
            return value.startswith(wanted)
        return value.endswith(wanted) and (len(value) > len(wanted)) == (op == wire.Op.ENDS)

    def _registered(self) -> dict[int, str]:
        row = self.tables.get("l7_configs", {}).get(self.config)
        if row is None:
            return {}
        found = {}
        for number in range(8):
            at = 56 + number * 48
            length = int.from_bytes(row[at : at + 4], "little")
            if length:
                found[20 + number] = row[at + 8 : at + 8 + length].decode()
        return found


_PASSES = 1  # enum l7_undecodable
_KNOWN = {3: HOST, 7: "content-length", 10: "upgrade", 11: "content-type", 12: "user-agent", 13: "traceparent",
          14: "authorization", 16: "grpc-timeout", 19: "grpc-encoding"}  # fmt: skip


class _Record:
    """The record of a request, as a parser fills it in."""

    def __init__(self, request: Request | None, registered: dict[int, str]) -> None:
        self._request = request
        self._names = {**_KNOWN, **registered}

    @property
    def method(self) -> int:
        """The bit of the method."""
        request = self._request
        if request is None:
            return wire.ANY_METHOD
        usual = {method.name.encode(): method for method in wire.Method if method is not wire.Method.OTHER}
        cut = METHOD in request.truncated
        return 1 << (wire.Method.OTHER if cut else usual.get(request.method, wire.Method.OTHER))

    def tunnels(self, http1: bool) -> bool:
        """Whether another protocol would follow, other than WebSocket."""
        value, known = self.field(10)
        upgrades = self._request is not None and self._request.upgrades and http1
        return self.method == 1 << wire.Method.CONNECT or (
            upgrades and (value is None or not known or value.lower() != b"websocket")
        )

    def path(self, keep: bool) -> tuple[bytes, tuple[bytes, ...]] | BadPath | None:
        """Normalised."""
        request = self._request
        assert request is not None
        if PATH in request.truncated:
            return BadPath.TOO_LONG
        if request.path is None or request.path == b"*":
            return None
        return normalise(request.path, keep_parameters=keep)

    def field(self, number: int) -> tuple[bytes | None, bool]:
        """The value, and whether it can be told."""
        request = self._request
        assert request is not None
        if number == 0:
            return request.method, METHOD not in request.truncated
        name = self._names[number]
        value = request.host if name == HOST else request.headers.get(name)
        return value, name not in request.repeated and name not in request.truncated
