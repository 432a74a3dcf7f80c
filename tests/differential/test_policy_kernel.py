"""Policies in the kernel against the reference model: random configurations, clients and requests, and no disagreement.

The tables are the compiler's, the look-up of the source, the paths, the walk, the rules, limits and faults the kernel's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError
from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, Decided, DecisionEngine, Source
from ebpfmesh.identity import cgroup_path
from ebpfmesh.policy import Config, render, wire
from ebpfmesh.policy.compile import cgroups, compile_service
from ebpfmesh.policy.reference import HOST, METHOD, PATH, Client, Reason, Request, Verdict, decide
from policy_strategies import clients, configs, requests
from table_interpreter import Interpreter, Shelf

pytestmark = pytest.mark.kernel(feature="loop")

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
IDENTITIES, SERVICE, GENERATION = 7, 5, 3
NOW = 10**15
EXAMPLES = int(os.environ.get("EBPFMESH_EXAMPLES", "100"))  # configurations, of 48 decisions each
_WORD = struct.Struct("=Q")


@pytest.fixture(scope="module")
def kernel() -> Iterator[DecisionEngine]:
    """Its limits keep no word but that of the overflow, so that a test can say which of them have no token left."""
    with decision.load(capacities={"l7_buckets": 1}) as loaded:
        yield loaded


class Installed:
    """A configuration's one service in the kernel."""

    def __init__(self, kernel: DecisionEngine, config: Config) -> None:
        self.kernel, self.config, self.service = kernel, config, config.services[0]
        self.shelf = Shelf()
        places = {path: self.shelf.named("workload", name) for name, path in cgroups(config).items()}
        compiled = compile_service(self.service, config, self.shelf, key=KEY, identities=IDENTITIES)
        self.tables = {name: dict(rows) for name, rows in compiled.tables.items()}
        for name, rows in self.shelf.rows.items():
            self.tables.setdefault(name, {}).update(rows)
        self.ids: dict[str, int] = {}
        self.tables["l7_workloads"] = {
            struct.pack("=QI4x", self.id_of(path), IDENTITIES): wire.INDEX.pack(number)
            for path, number in places.items()
        }
        known = Interpreter(compiled, self.shelf, KEY).registered
        self.fields = {**_FIELDS, **{name: number for number, name in known.items()}}
        kernel.clear()
        kernel.install(compiled.version, self.tables, service=SERVICE, generation=GENERATION, key=KEY)
        kernel.maps["l7_buckets"].update_raw(bytes(24), bytes(8))

    def id_of(self, path: str) -> int:
        """A cgroup's, which is no number of anything else."""
        return self.ids.setdefault(path, 1000 + len(self.ids))

    def prepare(self, exhausted: frozenset[str], struck: frozenset[str]) -> None:
        """Let these limits have no token left, and these faults strike."""
        full, rules = {}, {}
        for (kind, name), number in self.shelf.names.items():
            if kind == "limit":
                full[number] = _WORD.pack(2 * NOW if name in exhausted else 0)
        for element, row in self.tables.get("l7_rules", {}).items():
            if row[0] == wire.Action.FAULT:
                name = self.shelf.name("rule", int.from_bytes(row[4:8], "little"))
                rules[element] = (
                    row[:12] + (wire.ALWAYS if name in struck else 0).to_bytes(4, "little") + row[16:]
                )
        zeroes = {number: bytes(32) for number in full}
        self.kernel.write({"l7_limit_full": full, "l7_limit_stats": zeroes, "l7_rules": rules})  # type: ignore[dict-item]

    def decide(self, client: Client, request: Request) -> Decided:
        """What the kernel says."""
        address = bytes(16)
        if client.address is not None:
            found = ip_address(client.address)
            address = found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed
        downwards = tuple(self.id_of(path) for path in cgroup_path.upwards(client.cgroup))[::-1]
        source = Source(downwards, address, client.port or 0)
        return self.kernel.decide(
            asked(request, self.fields), service=SERVICE, generation=GENERATION, source=source, now=NOW,
            http1=self.service.l7 == "http1",
        )  # fmt: skip

    def taken(self) -> set[str]:
        """The limits that were taken from, or asked in vain."""
        table = self.kernel.maps["l7_limit_stats"]
        return {
            name
            for (kind, name), number in self.shelf.names.items()
            if kind == "limit" and any(table.lookup_raw(wire.INDEX.pack(number)) or b"")
        }


_FIELDS = {
    METHOD: 0,
    PATH: 2,
    HOST: 3,
    "content-length": 7,
    "upgrade": 10,
    "content-type": 11,
    "user-agent": 12,
    "traceparent": 13,
    "authorization": 14,
}

OPTIONS, UPGRADES = 16, 4  # of HTTP_CONNECTION: HTTP_PERSISTS, HTTP_UPGRADES
_NUMBERS = {7, 14}  # of them those that are kept as numbers


def asked(request: Request, fields: Mapping[str, int]) -> Asked:
    """The record that a parser makes of a request, which knows these fields."""
    values: dict[int, bytes | int] = {0: request.method}
    if request.path is not None:
        values[2] = request.path
    if request.scheme is not None:
        values[4] = request.scheme
    values[9] = OPTIONS | (UPGRADES if request.upgrades else 0)
    if request.host is not None:
        values[3] = request.host
    for name, value in request.headers.items():
        if (number := fields.get(name)) is not None:
            values[number] = hash(value) & 0xFFFF_FFFF_FFFF if number in _NUMBERS else value

    def bits(those: Collection[str]) -> list[int]:
        return [number for name, number in fields.items() if name in those]

    return Asked(values, bits(request.repeated), bits(request.truncated))


def agree(installed: Installed, expected: Verdict, found: Decided) -> None:
    """Both say the same, to the last bit that they both tell."""
    shelf = installed.shelf
    rule = shelf.name("rule", found.rule) if found.rule else None
    route = shelf.name("route", found.route) if found.route else None
    told = (found.allowed, found.reason, rule, found.audited, route, found.path)
    assert told == (
        expected.allowed,
        expected.reason,
        expected.rule,
        expected.audited,
        expected.route,
        expected.path,
    ), [str(step) for step in expected.why]
    assert installed.taken() == set(expected.limits)
    if expected.reply is not None:
        rows = render.render(expected.reply, retries=expected.reason is Reason.LIMITED).rows
        assert [shelf.rows["l7_replies"][found.reply + at] for at in range(4)] == list(rows)
    else:
        assert found.reply == 0


names = st.frozensets(st.sampled_from(["limit-0", "limit-1", "fault-0", "fault-1"]), max_size=3)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configs(), st.data())
def test_the_kernel_decides_as_the_model_says(
    kernel: DecisionEngine, config: Config, data: st.DataObject
) -> None:
    try:
        installed = Installed(kernel, config)
    except CapacityError:
        assume(False)
    those = [data.draw(clients) for _ in range(4)]
    asks = [data.draw(requests(installed.service)) for _ in range(6)]
    for exhausted, struck in [(data.draw(names), data.draw(names)) for _ in range(2)]:
        for client, request in product(those, asks):
            installed.prepare(exhausted, struck)
            expected = decide(
                config,
                installed.service,
                client,
                request,
                exhausted=exhausted,
                strikes=lambda fault, struck=struck: fault.name in struck,  # type: ignore[misc]
            )
            agree(installed, expected, installed.decide(client, request))
