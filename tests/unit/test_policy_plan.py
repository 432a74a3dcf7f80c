"""The plan: what differs and nothing else; and how much room services need."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.engine.balance import Target, build
from ebpfmesh.policy import Backend, Balance, Capacity, Config, Service
from ebpfmesh.policy.address import parse
from ebpfmesh.policy.capacity import FLOOR, Need, capacities, need, of_service, slots, tables
from ebpfmesh.policy.plan import Plan, ServiceAdded, ServiceChanged, ServiceRemoved, SettingChanged, diff


def mesh(*services: Service, **fields: Any) -> Config:
    """A configuration of these services."""
    return Config(name="mesh", cgroup="/mesh", services=services, **fields)


WEB = Service("web", addresses=("10.0.0.1:80",), backends=(Backend("127.0.0.1:1"), Backend("127.0.0.1:2", 3)))


def test_a_first_plan_adds_every_service() -> None:
    plan = diff(None, mesh(WEB, Service("empty")))
    assert plan.changes == (ServiceAdded(WEB), ServiceAdded(Service("empty")))
    assert str(plan) == (
        "+ service web: tcp 10.0.0.1:80, 2 backends, round-robin\n"
        "+ service empty: tcp no address, 0 backends, round-robin\n"
        "services: 2 added, 0 changed, 0 removed, 0 unchanged"
    )


def test_a_plan_without_changes_is_empty_and_says_so() -> None:
    for new in (mesh(WEB), mesh(msgspec.structs.replace(WEB))):
        plan = diff(mesh(WEB), new)
        assert plan.empty
        assert str(plan) == "nothing to change, 1 service"


def test_another_spelling_or_order_is_no_change() -> None:
    other = Service("web", addresses=("[::ffff:10.0.0.1]:80",), backends=WEB.backends[::-1])
    assert diff(mesh(WEB, Service("x")), mesh(Service("x"), other)).empty


def test_a_change_names_each_difference() -> None:
    new = Service(
        "web",
        addresses=("[fd00::1]:80",),
        backends=(Backend("127.0.0.1:1", draining=True), Backend("127.0.0.1:3", 2)),
        balance=Balance("maglev", 251, "mark"),
        no_backend="EHOSTUNREACH",
    )
    plan = diff(
        mesh(WEB, Service("old")), mesh(new, Service("new", namespace="/run/netns/blue"), memory_budget=5)
    )
    assert str(plan) == (
        "~ memory_budget: 256MiB -> 5\n"
        "~ service web\n"
        "    + address [fd00::1]:80\n"
        "    - address 10.0.0.1:80\n"
        "    + backend 127.0.0.1:3, weight 2\n"
        "    - backend 127.0.0.1:2, weight 3\n"
        "    ~ backend 127.0.0.1:1: draining\n"
        "    ~ balance: round-robin -> maglev (table 251, key mark)\n"
        "    ~ no_backend: ECONNREFUSED -> EHOSTUNREACH\n"
        "+ service new: tcp no address in /run/netns/blue, 0 backends, round-robin\n"
        "- service old: tcp no address, 0 backends, round-robin\n"
        "services: 1 added, 1 changed, 1 removed, 0 unchanged; 1 setting changed"
    )
    back = diff(mesh(new), mesh(WEB))
    assert "    ~ backend 127.0.0.1:1: no longer draining" in str(back)


def test_weights_are_told_apart_from_draining() -> None:
    new = msgspec.structs.replace(WEB, backends=(Backend("127.0.0.1:1", 0), Backend("127.0.0.1:2", 5, True)))
    (change,) = diff(mesh(WEB), mesh(new)).changes
    assert isinstance(change, ServiceChanged)
    assert [(one.address, one.old, one.new) for one in change.reweighted] == [
        ("127.0.0.1:1", 1, 0),
        ("127.0.0.1:2", 3, 5),
    ]
    assert change.draining == ("127.0.0.1:2",)
    assert not change.backends_added
    assert not change.backends_removed


def test_a_plan_is_json_that_reads_back() -> None:
    plan = diff(
        mesh(WEB, Service("old")),
        mesh(Service("web", protocol="udp"), Service("new"), capacity=Capacity(slots=8)),
    )
    kinds = [change["change"] for change in msgspec.json.decode(plan.to_json())["changes"]]
    assert kinds == ["setting-changed", "service-changed", "service-added", "service-removed"]
    assert [type(change) for change in msgspec.json.decode(plan.to_json(), type=Plan).changes] == [
        SettingChanged,
        ServiceChanged,
        ServiceAdded,
        ServiceRemoved,
    ]


ADDRESSES = st.sampled_from(
    ["10.0.0.1:1", "10.0.0.2:1", "[::ffff:10.0.0.2]:1", "[fd00::1]:1", "[fd00:0::1]:1"]
)
ANY_SERVICE = st.builds(
    Service,
    name=st.just("s"),
    protocol=st.sampled_from(["tcp", "udp"]),
    addresses=st.lists(ADDRESSES, max_size=3, unique_by=parse).map(tuple),
    backends=st.lists(
        st.builds(Backend, ADDRESSES, st.integers(0, 2), st.booleans()),
        max_size=3,
        unique_by=lambda backend: backend.endpoint,
    ).map(tuple),
    balance=st.sampled_from([Balance(), Balance("maglev"), Balance("maglev", 251)]),
)
CONFIGS = st.dictionaries(st.sampled_from("abcdefgh"), ANY_SERVICE, max_size=8).map(
    lambda named: mesh(*(msgspec.structs.replace(one, name=name) for name, one in named.items()))
)


def meaning(config: Config) -> dict[str, Any]:
    """The reference: what a configuration says, whatever the spelling and the order."""
    return {
        one.name: (
            one.protocol,
            frozenset(one.endpoints),
            frozenset((b.endpoint, b.weight, b.draining) for b in one.backends),
            one.balance,
        )
        for one in config.services
    }


def after(config: Config, plan: Plan) -> dict[str, Any]:
    """The meaning of ``config`` once each change of ``plan`` has been made to it."""
    named = {one.name: one for one in config.services}
    for change in plan.changes:
        if isinstance(change, ServiceAdded):
            assert change.name not in named
            named[change.name] = change.service
        elif isinstance(change, ServiceRemoved):
            assert named.pop(change.name) == change.service
        elif isinstance(change, ServiceChanged):
            named[change.name] = made(named[change.name], change)
    return meaning(mesh(*named.values()))


def made(old: Service, change: ServiceChanged) -> Service:
    """``old`` with the change made to it."""
    addresses = {str(one) for one in old.endpoints}
    assert addresses >= set(change.addresses_removed)
    assert addresses.isdisjoint(change.addresses_added)
    backends = {str(one.endpoint): one for one in old.backends}
    for gone in change.backends_removed:
        assert backends.pop(str(gone.endpoint)) == gone
    for one in change.reweighted:
        assert backends[one.address].weight == one.old
        backends[one.address] = msgspec.structs.replace(backends[one.address], weight=one.new)
    for addresses_of, draining in ((change.draining, True), (change.undraining, False)):
        for address in addresses_of:
            backends[address] = msgspec.structs.replace(backends[address], draining=draining)
    for added in change.backends_added:
        assert str(added.endpoint) not in backends
        backends[str(added.endpoint)] = added
    policy = {one.field: one.new for one in change.policy}
    return msgspec.structs.replace(
        old,
        addresses=tuple((addresses - set(change.addresses_removed)) | set(change.addresses_added)),
        backends=tuple(backends.values()),
        balance=change.balance[1] if change.balance else old.balance,
        **policy,
    )


@given(old=CONFIGS, new=CONFIGS, data=st.data())
@settings(deadline=None)
def test_making_the_changes_of_a_plan_leads_to_the_new_configuration(
    old: Config, new: Config, data: st.DataObject
) -> None:
    for service in old.services:  # some services stay as they are, the same object
        if data.draw(st.booleans()):
            new = new.with_service(service)
    new = mesh(*data.draw(st.permutations(new.services)))
    plan = diff(old, new)
    assert after(old, plan) == meaning(new)
    unchanged = [name for name, one in meaning(new).items() if meaning(old).get(name) == one]
    assert plan.unchanged == len(unchanged)
    assert plan.empty is (meaning(old) == meaning(new))


@pytest.mark.parametrize(
    ("protocol", "addresses", "expected"),
    [
        ("tcp", ["10.0.0.1:1"], [["127.0.0.1:1", "127.0.0.2:1"]]),
        ("tcp", ["[fd00::1]:1"], [["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"], ["[::1]:1"]]),
        (
            "tcp",
            ["[fd00::1]:1", "10.0.0.1:1"],
            [["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"], ["127.0.0.1:1", "127.0.0.2:1"], ["[::1]:1"]],
        ),
        ("udp", ["[fd00::1]:1", "10.0.0.1:1"], [["127.0.0.1:1", "127.0.0.2:1"], ["[::1]:1"]]),
    ],
)
def test_a_table_is_needed_for_each_distinct_set_of_reachable_backends(
    protocol: Any, addresses: list[str], expected: list[list[str]]
) -> None:
    written = (
        ["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"] if len(expected) > 1 else ["127.0.0.1:1", "127.0.0.2:1"]
    )
    one = Service("s", protocol, tuple(addresses), tuple(map(Backend, written)))
    assert [[backend.address for backend in found] for found in tables(one)] == expected
    assert slots(one) == 4 * len(expected)
    assert of_service(one) == Need(1, len(addresses), len(written), 4 * len(expected))


def test_equal_tables_are_counted_once() -> None:
    one = Service("s", "tcp", ("[fd00::1]:1", "[fd00::2]:1"), (Backend("[::1]:1"),), Balance("maglev"))
    assert slots(one) == 252
    assert slots(msgspec.structs.replace(one, backends=())) == 0


@given(
    service=ANY_SERVICE, name=st.sampled_from(["random", "weighted-random", "weighted-round-robin", "maglev"])
)
@settings(deadline=None)
def test_the_slots_needed_are_those_of_the_tables_that_are_built(service: Service, name: str) -> None:
    service = msgspec.structs.replace(service, balance=Balance(name))
    total = 0
    for backends in tables(service):
        targets = [
            Target(n, one.effective_weight, one.endpoint.identity) for n, one in enumerate(backends, 1)
        ]
        total += -(-len(build(name, targets).slots) // 4) * 4
    assert slots(service) == total


def test_capacities_are_twice_the_need_unless_given() -> None:
    needed = Need(services=1000, addresses=2000, backends=30000, slots=40)
    assert capacities(Capacity(addresses=2001), needed) == Need(2000, 2001, 60000, FLOOR.slots)
    assert capacities(Capacity(), need(mesh())) == FLOOR


def test_the_need_of_a_configuration_is_the_sum_of_its_services() -> None:
    services = [WEB, Service("six", "tcp", ("[fd00::1]:1",), (Backend("[::1]:1"),), Balance("maglev"))]
    assert need(mesh(*services)) == of_service(services[0]) + of_service(services[1]) == Need(2, 2, 3, 256)


def test_unchanged_services_cost_next_to_nothing() -> None:
    services = tuple(Service(f"s{n}", addresses=(f"10.0.{n >> 8}.{n & 255}:1",)) for n in range(10_000))
    old = mesh(*services)
    changed = old.with_service(Service("s5000")).without("s7")
    for new, changes in ((mesh(*services), 0), (old.with_service(Service("s5000")), 1), (changed, 2)):
        best = min(_seconds(old, new, changes) for _ in range(5))
        # 3 ms is the bar where nothing changes, measured by the bench; more here, where other work may be going on.
        assert best < (0.02 if changes < 2 else 0.1)


def _seconds(old: Config, new: Config, changes: int) -> float:
    start = time.process_time()
    plan = diff(old, new)
    took = time.process_time() - start
    assert len(plan.changes) == changes
    return took
