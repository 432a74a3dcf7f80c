"""Who asks: workload, class of the address and port lead to the policy, at one generation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from decisions import ASKS_ADDRESS, ASKS_PORT, ASKS_WORKLOAD, ROUTE, Tables

from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, DecisionEngine, Source

pytestmark = pytest.mark.kernel(feature="loop")

IDENTITIES, RULES = 9, 5
LEVELS = 16  # of cgroups, that are looked at
L7_CGROUPS = 16  # levels of cgroups that are looked at


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


def packed(address: str) -> bytes:
    found = ip_address(address)
    return found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed


class Sources(Tables):
    """Policies are told apart by the route of their one rule, which is the policy's number."""

    def __init__(self, *, flags: int = 0) -> None:
        super().__init__(flags=flags)
        self.rules_number, self.identities = RULES, IDENTITIES
        for number in range(1, 9):
            self.add_policy([self.rule(ROUTE, argument=number)])

    def workload(self, cgroup: int, number: int, identities: int = IDENTITIES) -> None:
        self.key("l7_workloads", struct.pack("=QI4x", cgroup, identities), number)

    def network(self, network: str, number: int, rules: int = RULES) -> None:
        found = ip_network(network)
        bits = found.prefixlen + (96 if found.version == 4 else 0)
        key = struct.pack("=II", 32 + bits, rules) + packed(str(found.network_address))
        self.key("l7_addresses", key, number)

    def source(
        self, policy: int, *, workload: int = 0, address: int = 0, port: int = 0, rules: int = RULES
    ) -> None:
        self.key("l7_sources", struct.pack("=IIII", rules, workload, address, port), policy)

    def ask(self, kernel: DecisionEngine, *sources: Source) -> list[tuple[int, int]]:
        """Policy, as its rule says, and workload."""
        kernel.clear()
        self.install(kernel)
        found = [kernel.decide(Asked.of(), source=source) for source in sources]
        assert [one.route for one in found] == [one.policy for one in found]
        return [(one.policy, one.workload) for one in found]


def test_the_deepest_cgroup_that_is_named(kernel: DecisionEngine) -> None:
    tables = Sources(flags=ASKS_WORKLOAD)
    for cgroup, workload in ((100, 11), (200, 12)):
        tables.workload(cgroup, workload)
        tables.source(workload - 9, workload=workload)
    tables.workload(300, 13, identities=IDENTITIES + 1)  # a table that is not in force
    tables.source(7, workload=12, rules=RULES + 1)
    many = tuple(range(1, LEVELS))
    assert tables.ask(
        kernel,
        Source((200, 100)),
        Source((100, 200)),
        Source((3, 200, 2, 1)),
        Source((*many, 200)),
        Source((200, *many)),
        Source(many),
        Source((300,)),
        Source(()),
    ) == [(2, 11), (3, 12), (3, 12), (3, 12), (3, 12), (1, 0), (1, 0), (1, 0)]


def test_the_workload_is_told_even_if_no_rule_asks(kernel: DecisionEngine) -> None:
    tables = Sources()
    tables.workload(100, 11)
    tables.source(3, workload=11)
    assert tables.ask(kernel, Source((100,))) == [(1, 11)]
    tables.identities = 0
    assert tables.ask(kernel, Source((100,))) == [(1, 0)]


def test_the_longest_prefix_of_this_rule_set(kernel: DecisionEngine) -> None:
    tables = Sources(flags=ASKS_ADDRESS)
    for number, network in enumerate(("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"), start=1):
        tables.network(network, number)
        tables.source(number + 1, address=number)
    tables.network("10.1.2.0/24", 99, rules=RULES + 1)
    clients = ("10.9.9.9", "10.1.2.3", "2001:db8::1", "192.0.2.1", "2001:db9::1", "::1")
    asked = tables.ask(kernel, *(Source(address=packed(one)) for one in clients))
    assert [policy for policy, _ in asked] == [2, 3, 4, 5, 1, 1]
    tables.flags &= ~ASKS_ADDRESS
    assert tables.ask(kernel, Source(address=packed("10.9.9.9"))) == [(1, 0)]


def test_ports_and_all_together(kernel: DecisionEngine) -> None:
    tables = Sources(flags=ASKS_PORT | ASKS_WORKLOAD | ASKS_ADDRESS)
    tables.workload(100, 11)
    tables.network("10.0.0.0/8", 1)
    tables.source(2, port=80)
    tables.source(3, workload=11, address=1, port=80)
    there, elsewhere = packed("10.0.0.1"), packed("11.0.0.1")
    asked = tables.ask(
        kernel,
        Source((100,), there, 80),
        Source((100,), there, 81),
        Source((100,), elsewhere, 80),
        Source((), elsewhere, 80),
        Source((), there, 80),
    )
    assert [policy for policy, _ in asked] == [3, 1, 1, 2, 1]


def test_the_version_of_the_generation(kernel: DecisionEngine) -> None:
    """A newer version is used from its generation on; both of a service are there meanwhile."""
    old, new = Sources(), Sources()
    old.policy, new.policy = 4, 6
    old.install(kernel, generation=7)
    entry = struct.pack("=Q", 8 << 1 | 1) + old.version + new.version
    kernel.write({"l7_services": {1: entry}})
    asked = [kernel.decide(Asked.of(), source=Source(), generation=one).route for one in (7, 8, 9)]
    assert asked == [4, 6, 6]
