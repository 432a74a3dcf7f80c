"""Tables of a policy, written by hand: what tests of the kernel's decision are about, without the compiler of policies."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from ebpfmesh.harness.decision import Asked, Decided, DecisionEngine
from ebpfmesh.policy.siphash import segment_digest, siphash

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
PRESENT, ERRORS_PASS, HAS_PATHS, KEEPS_PARAMETERS, HAS_ALLOW = 1, 16, 64, 128, 512
ASKS_ADDRESS, ASKS_PORT, ASKS_WORKLOAD = 1024, 2048, 4096
DENY, ALLOW, AUDIT, ROUTE, LIMIT, FAULT = range(1, 7)
IS_PRESENT, IS_ABSENT, EQUALS, BEGINS, ENDS = range(1, 6)
FOLDS, WITHOUT_PORT = 1, 2
BY_RULE, BY_DEFAULT, NOT_ALLOWED, BAD_PATH, LIMITED, FAULTED = range(1, 7)
LOOK_UP_FAILED = 8
PER_SERVICE, PER_ADDRESS, PER_IDENTITY, PER_FIELD = range(4)
ANY_METHOD = 0xFFFF
REFUSAL, BAD_PATH_REPLY = 40, 44
NUMBER = struct.Struct("=I")

Condition = tuple[Any, ...]  # field, op, text, flags


class Tables:
    """Collects rows; element 0 of every array stays unused."""

    def __init__(self, *, flags: int = 0) -> None:
        self.flags = PRESENT | flags
        self.rows: dict[str, dict[int | bytes, bytes]] = {}
        self.rules_number, self.policy, self.identities = 1, 1, 0

    def row(self, table: str, value: bytes) -> int:
        rows = self.rows.setdefault(table, {})
        number = len(rows) + 1
        rows[number] = value
        return number

    def key(self, table: str, key: bytes, value: int) -> None:
        self.rows.setdefault(table, {})[key] = NUMBER.pack(value)

    def condition(self, field: int, op: int, text: bytes = b"", flags: int = 0) -> int:
        return self.row("l7_conditions", struct.pack("=BBBB12x112s", field, op, flags, len(text), text))

    def rule(
        self,
        action: int,
        *conditions: Condition,
        methods: int = ANY_METHOD,
        reply: int = 0,
        argument: int = 0,
        opens: bool = False,
        number: int | None = None,
    ) -> int:
        found = [self.condition(*one) for one in conditions]
        element = len(self.rows.get("l7_rules", {})) + 1
        found += [0] * (6 - len(found))
        name = 100 + element if number is None else number
        return self.row(
            "l7_rules", struct.pack("=BBHIII6I8x", action, opens, methods, name, reply, argument, *found)
        )

    def list(self, rules: Iterable[int]) -> int:
        rules = list(rules)
        return self.row("l7_lists", struct.pack("=I32I4x", len(rules), *rules, *[0] * (32 - len(rules))))

    def add_policy(self, rules: Sequence[int] = (), *, root: int = 0, exact: bool = False) -> int:
        return self.row("l7_policies", struct.pack("=III4x", root, self.list(rules), int(exact)))

    def state(self, *, other: int = 0, here: int = 0, deeper: int = 0, leaf: bool = False) -> int:
        return self.row("l7_path_states", struct.pack("=IIII", other, here, deeper, leaf))

    def edge(self, state: int, segment: bytes, to: int) -> None:
        key = struct.pack("=IIQ", state, len(segment), segment_digest(KEY, segment))
        self.key("l7_segments", key, to)

    def path(self, policy: int, path: bytes, found: int) -> None:
        self.key("l7_paths", struct.pack("=IIQ", policy, len(path), siphash(KEY, path)), found)

    def limit(
        self, interval: int, burst: int, *, key: int = PER_SERVICE, field: int = 0, number: int = 1
    ) -> int:
        return self.row("l7_limits", struct.pack("=QQBBHI", interval, burst, key, field, 0, number))

    @property
    def version(self) -> bytes:
        return struct.pack(
            "=QIBBHIIIIIIII8x",
            *(0, self.flags, 1, 0, 0, self.rules_number, self.policy, 0, 0),
            *(REFUSAL, BAD_PATH_REPLY, 48, self.identities),
        )

    def install(self, kernel: DecisionEngine, *, service: int = 1, generation: int = 1) -> None:
        kernel.install(self.version, self.rows, service=service, generation=generation, key=KEY)


def decide(kernel: DecisionEngine, tables: Tables, asked: Asked, **options: Any) -> Decided:
    """Of these tables alone."""
    kernel.clear()
    tables.install(kernel)
    return kernel.decide(asked, policy=options.pop("policy", tables.policy), **options)
