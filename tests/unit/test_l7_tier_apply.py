"""Applies to the L7 tier on a fake kernel: whatever is killed when, a request is judged by the old policy or the new."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError
from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy import compile as compiler
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.model import Config, Service
from ebpfmesh.policy.request_match import HeaderMatch
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source
from ebpfmesh.testing.fake_l7 import FakeL7, fake_l7_maps, judged_by
from ebpfmesh.tiers.l7 import loading
from ebpfmesh.tiers.l7.installed import Installed
from ebpfmesh.tiers.l7.reconcile import Reconciler
from ebpfmesh.tiers.l7.tables import ELEMENTS, HASHES, Tables
from ebpfmesh.tiers.l7.wire import LIMIT_COUNTERS

pytestmark = pytest.mark.skipif(not loading.object_path("l7").exists(), reason="the object is not built")

NUMBERS = {"a": 0, "b": 1, "c": 5}
CGROUPS = {"/one": 101, "/one/in": 102, "/two": 103}


class Killed(BaseException):
    """Raised in the place of a write and of every later one, as SIGKILL would have it."""


class Kernel(Tables):
    """Tables on fake maps, without the wait for readers that a fake kernel has not."""

    def grace_period(self) -> None:
        pass


def agent(maps: FakeL7, kill_at: int | None = None) -> Reconciler:
    """A new agent on the maps, as one that starts after a crash; it dies before write number ``kill_at``."""
    writes = iter(range(1, 1 << 30))

    def on_write(what: str) -> None:
        if kill_at is not None and next(writes) >= kill_at:
            raise Killed(what)

    tables = Kernel(maps)
    made = Reconciler(tables, Installed(tables, NUMBERS), compiler, CGROUPS.get)
    tables._on_write = on_write if kill_at is not None else None
    return made


def bring_to(reconciler: Reconciler, config: Config) -> None:
    """What the tiers do with a configuration: policies first, then what is gone drains."""
    put, gone = reconciler.plan(config, config.services)
    if put:
        reconciler.apply(config, put, NUMBERS.__getitem__)
    reconciler.drain(gone)


def view(maps: FakeL7) -> dict[str, Any]:
    """What requests to each service are judged by now; one that drains, or never was, is None."""
    found = {name: judged_by(maps, number) for name, number in NUMBERS.items()}
    return {name: None if one == "passes" else one for name, one in found.items()}


def expected(config: Config) -> dict[str, Any]:
    """What they are judged by where nothing was before."""
    maps = fake_l7_maps()
    bring_to(agent(maps), config)
    return view(maps)


def steps(old: Config, new: Config) -> list[dict[str, Any]]:
    """What may be seen on the way: all old, all new with what is gone still judged as before, all new.

    Where cgroups are told apart otherwise, what is gone has lost its table of workloads in between.
    """
    before, after = expected(old), expected(new)
    return [before, {name: after[name] or before[name] for name in after}, after]


PATHS = ["/admin/**", "/users/*/orders", "/exact", "/exact/", "/", "/**"]
SOURCES = [
    Source(workload="one"), Source(labels={"team": "pay"}), Source(address="10.0.0.0/8"),
    Source(address="10.1.0.0/16"), Source(cgroup="/two"), Source(workload="in", address="10.1.0.0/16"),
]  # fmt: skip


@st.composite
def matches(draw: st.DrawFn) -> dict[str, Any]:
    """What a rule asks for."""
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["paths"] = tuple(draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=2, unique=True)))
    if draw(st.booleans()):
        fields["methods"] = draw(st.sampled_from([("GET",), ("POST", "PUT")]))
    if draw(st.integers(0, 4)) == 0:
        fields["headers"] = (HeaderMatch("x-user", exact=draw(st.sampled_from(["root", "guest"]))),)
    return fields


sources = st.one_of(
    st.none(), st.lists(st.sampled_from(SOURCES), min_size=1, max_size=2, unique_by=str).map(tuple)
)


@st.composite
def services(draw: st.DrawFn, name: str) -> Service:
    rules = tuple(
        Rule(
            f"rule{number}",
            action=draw(st.sampled_from(["allow", "deny", "audit"])),
            sources=draw(sources),
            **draw(matches()),
        )
        for number in draw(st.lists(st.integers(0, 3), max_size=3, unique=True))
    )
    limits = tuple(
        Limit(
            f"limit{number}",
            rate=draw(st.sampled_from(["5/s", "100/m"])),
            key=draw(st.sampled_from(["service", "identity"])),
            **draw(matches()),
        )
        for number in draw(st.lists(st.integers(0, 1), max_size=1))
    )
    routes = tuple(
        Route(f"route{number}", **draw(matches())) for number in draw(st.lists(st.integers(0, 1), max_size=1))
    )
    faults = tuple(Fault("fault", percentage=50, status=503) for _ in range(draw(st.integers(0, 1))))
    return Service(
        name, addresses=(f"10.0.0.{NUMBERS[name] + 1}:80",), backends=("10.1.0.1:80",), l7="http1",
        rules=rules, limits=limits, routes=routes, faults=faults,
    )  # fmt: skip


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Up to three services with policies, and the workloads that they tell apart."""
    one = Workload("one", draw(st.sampled_from(["/one", "/two"])), labels={"team": "pay"})
    workloads = (one, Workload("in", "/one/in"))
    names = draw(st.lists(st.sampled_from(sorted(NUMBERS)), unique=True))
    return Config("m", "/m", tuple(draw(services(name)) for name in names), workloads=workloads)


some = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@given(st.lists(configs(), min_size=1, max_size=4), st.booleans())
@some
def test_every_apply_ends_in_what_the_model_says(history: list[Config], collect: bool) -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    for config in history:
        bring_to(reconciler, config)
        if collect:
            reconciler.collect()
        assert view(maps) == expected(config)


@given(configs(), configs(), configs())
@some
def test_after_every_single_write_a_request_sees_one_of_the_steps(
    first: Config, old: Config, new: Config
) -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    bring_to(reconciler, first)
    bring_to(reconciler, old)
    allowed = steps(old, new)
    reconciler.tables._on_write = lambda what: (
        None if view(maps) in allowed else pytest.fail(f"mixed before {what}")
    )
    bring_to(reconciler, new)
    reconciler.collect()
    assert view(maps) == allowed[-1]


@given(configs(), configs(), st.integers(1, 60))
@settings(some, max_examples=100)
def test_an_agent_killed_at_any_write_leaves_all_of_the_old_or_all_of_the_new(
    old: Config, new: Config, kill_at: int
) -> None:
    maps = fake_l7_maps()
    bring_to(agent(maps), old)
    with suppress(Killed):
        bring_to(agent(maps, kill_at), new)
    allowed = steps(old, new)
    assert view(maps) in allowed
    successor = agent(maps)
    assert view(maps) in allowed
    successor.tables._on_write = lambda what: (
        None if view(maps) in allowed else pytest.fail(f"mixed before {what}")
    )
    bring_to(successor, new)
    assert view(maps) == allowed[-1]
    successor.collect()
    successor.tables._on_write = None
    fresh = fake_l7_maps()
    made = agent(fresh)
    bring_to(made, new)
    for name in HASHES:
        assert len(maps[name].elements) == len(fresh[name].elements), f"{name} keeps what nobody needs"
    assert available(successor) == available(made)
    assert available(agent(maps)) == available(made), "a successor counts otherwise than who wrote it"


def available(reconciler: Reconciler) -> dict[str, int]:
    """Free elements by table, and free names by kind."""
    stock = reconciler.installed.stock
    free = {table: stock._elements[table].available for table in ELEMENTS}
    return free | {kind: ids.available for kind, ids in stock._name_ids.items()}


@given(configs(), configs())
@some
def test_a_change_that_is_reverted_leaves_what_was(old: Config, new: Config) -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    bring_to(reconciler, old)
    reconciler.collect()
    before, free = view(maps), available(reconciler)
    put, _ = reconciler.plan(new, new.services)
    if not put:
        return
    change = reconciler.apply(new, put, NUMBERS.__getitem__)
    reconciler.revert(change)
    assert view(maps) == before
    reconciler.collect()
    assert view(maps) == before
    assert available(reconciler) == free
    bring_to(reconciler, new)
    assert view(maps) == expected(new)


# --- by example -----------------------------------------------------------------------------------------------------


def config(*services: Service, workloads: Iterable[Workload] = (), **fields: Any) -> Config:
    return Config("m", "/m", services, workloads=tuple(workloads), **fields)


def web(name: str = "a", **fields: Any) -> Service:
    return Service(name, addresses=("10.0.0.1:80",), backends=("10.1.0.1:80",), l7="http1", **fields)


def test_a_policy_that_is_in_force_is_not_written_again_by_the_next_agent() -> None:
    maps = fake_l7_maps()
    one = config(web(rules=(Rule("r", action="deny", paths=("/x",)),)), workloads=[Workload("one", "/one")])
    bring_to(agent(maps), one)
    successor = agent(maps)
    assert successor.plan(one, one.services) == ([], [])
    other = config(web(rules=(Rule("r", action="deny", paths=("/y",)),)), workloads=[Workload("one", "/one")])
    assert [service.name for service in successor.plan(other, other.services)[0]] == ["a"]


def test_backends_make_no_difference_to_a_policy() -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    bring_to(reconciler, config(web()))
    more = config(web())
    service = Service("a", addresses=("10.0.0.1:80",), backends=("10.1.0.1:80", "10.1.0.2:80"), l7="http1")
    assert reconciler.plan(more, [service]) == ([], [])


def test_names_keep_their_numbers_over_changes_and_restarts() -> None:
    maps = fake_l7_maps()
    rules = [Rule(f"r{number}", action="deny", paths=(f"/{number}",)) for number in range(3)]
    limits = (Limit("slow", rate="1/s"), Limit("fast", rate="9/s"))
    bring_to(agent(maps), config(web(rules=tuple(rules), limits=limits)))
    before = agent(maps).installed.stock
    successor = agent(maps)
    bring_to(successor, config(web(rules=(rules[2],), limits=(limits[1],))))
    after = successor.installed.stock
    assert after.numbers("rule")[0, "r2"] == before.numbers("rule")[0, "r2"]
    assert after.numbers("limit")[0, "fast"] == before.numbers("limit")[0, "fast"]
    successor.collect()
    assert set(after.numbers("limit")) == {(0, "fast")}


def test_a_limit_that_gets_the_number_of_another_begins_anew() -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    bring_to(reconciler, config(web(limits=(Limit("slow", rate="1/s"),))))
    number = reconciler.installed.stock.numbers("limit")[0, "slow"]
    reconciler.tables.write("l7_limit_stats", {number: LIMIT_COUNTERS.pack(5, 5, 5, 5)})
    reconciler.tables.put("l7_buckets", [number.to_bytes(4, "little") + bytes(20)], [bytes([1] * 8)])
    bring_to(reconciler, config(web()))
    assert reconciler.tables.limit_counters(number)[0] == 5, "requests may still be judged by it"
    reconciler.collect()
    assert reconciler.tables.limit_counters(number) == (0, 0, 0, 0)
    assert not maps["l7_buckets"].elements


def test_replies_are_shared_by_services_and_freed_with_the_last() -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    alone = available(reconciler)["l7_replies"]
    bring_to(reconciler, config(web("a")))
    one = available(reconciler)["l7_replies"]
    bring_to(reconciler, config(web("a"), web("b")))
    assert available(reconciler)["l7_replies"] == one < alone
    bring_to(reconciler, config())
    reconciler.collect()
    assert available(reconciler)["l7_replies"] == alone


def test_what_does_not_fit_changes_nothing() -> None:
    maps = fake_l7_maps(l7_conditions=4)
    reconciler = agent(maps)
    bring_to(reconciler, config(web()))
    before, free = view(maps), available(reconciler)
    rules = tuple(
        Rule(f"r{number}", action="deny", headers=(HeaderMatch("x-user", exact=str(number)),))
        for number in range(9)
    )
    with pytest.raises(CapacityError, match="l7_conditions"):
        bring_to(reconciler, config(web(rules=rules)))
    assert (view(maps), available(reconciler)) == (before, free)


def test_a_cgroup_that_is_made_again_is_the_same_workload() -> None:
    maps = fake_l7_maps()
    cgroups = {"/one": 7}
    tables = Kernel(maps)
    reconciler = Reconciler(tables, Installed(tables, NUMBERS), compiler, cgroups.get)
    rules = (Rule("r", action="deny", sources=(Source(workload="one"),)),)
    bring_to(
        reconciler, config(web(rules=rules), workloads=[Workload("one", "/one"), Workload("two", "/two")])
    )
    assert not reconciler.follow_cgroups()
    generation = tables.generation
    cgroups.update({"/one": 8, "/two": 9})
    assert reconciler.follow_cgroups()
    assert view(maps)["a"][-1] == {8: "one", 9: "two"}
    assert tables.generation > generation, "connections look again whose they are"
    del cgroups["/two"]
    assert reconciler.follow_cgroups()
    assert view(maps)["a"][-1] == {8: "one"}
    bring_to(reconciler, config())
    reconciler.collect()
    assert not maps["l7_workloads"].elements


def test_the_number_of_a_service_that_is_gone_is_cleared_for_the_next() -> None:
    maps = fake_l7_maps()
    reconciler = agent(maps)
    bring_to(reconciler, config(web()))
    reconciler.tables.write("l7_stats", {0: bytes([9] * 8)})
    bring_to(reconciler, config())
    assert judged_by(maps, 0) == "passes"
    assert reconciler.tables.counters(0)[0]
    reconciler.forget([0])
    assert judged_by(maps, 0) is None
    assert not any(reconciler.tables.counters(0))
