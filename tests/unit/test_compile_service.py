"""Compiling one service: what is shared, what is refused and how it is said, and that many rules stay cheap."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError
from ebpfmesh.policy import (
    Config,
    Fault,
    GrpcMatch,
    HeaderMatch,
    Http,
    Limit,
    Reply,
    Route,
    Rule,
    Service,
    Source,
    Workload,
    wire,
)
from ebpfmesh.policy.compile import Compiled, cgroups, compile_service, problems
from ebpfmesh.policy.compile.condition import parts
from ebpfmesh.policy.compile.field import Fields
from ebpfmesh.policy.request_match import RequestMatch
from table_interpreter import Shelf

KEY = (1, 2)


SIX = tuple(HeaderMatch(f"x-{number}", present=True) for number in range(6))


def service(**fields: Any) -> Service:
    """A service of HTTP/1."""
    return Service(
        **{
            "name": "web",
            "addresses": ("10.96.0.1:80",),
            "backends": ("10.0.0.1:80",),
            "l7": "http1",
            **fields,
        }
    )


def deny(name: str = "r", **fields: Any) -> Rule:
    """A rule that denies."""
    return Rule(name=name, action="deny", **fields)


def compiled(one: Service, shelf: Shelf | None = None, **fields: Any) -> Compiled:
    """The tables of a service that is alone."""
    config = Config("mesh", "/mesh", services=(one,), **fields)
    return compile_service(one, config, Shelf() if shelf is None else shelf, key=KEY)


def counts(one: Compiled) -> dict[str, int]:
    """Elements by table."""
    return {table.removeprefix("l7_"): len(elements) for table, elements in one.tables.items()}


def version(one: Compiled) -> tuple[int, ...]:
    """The fields of the service's version."""
    return wire.SERVICE.unpack(one.version)


# --- what comes of it -----------------------------------------------------------------------------------------------------


def test_a_service_without_rules_is_a_policy_that_asks_nothing() -> None:
    found = compiled(service())
    assert counts(found) == {"policies": 1}
    assert wire.POLICY.unpack(*found.tables["l7_policies"].values()) == (0, 0, 0)
    assert version(found)[1] == wire.ServiceFlag.PRESENT | wire.ServiceFlag.OUTSTANDING_DROPS


def test_settings_become_flags() -> None:
    http = Http(
        undecodable="pass", on_error="fail_open", unjudged="fail_open", denied_midway="drop", denied_behind="drop",
        trace=True, sample=0.25, path_parameters="keep", set_headers={"x-mesh": "shop"},
    )  # fmt: skip
    shelf = Shelf()
    found = version(compiled(service(http=http, l7="grpc"), shelf))
    flag = wire.ServiceFlag
    assert found[1] == (
        flag.PRESENT | flag.UNJUDGED_PASSES | flag.PARTIAL_DROPS | flag.OUTSTANDING_DROPS | flag.ERRORS_PASS | flag.TRACES
        | flag.KEEPS_PARAMETERS | flag.IS_GRPC
    )  # fmt: skip
    assert found[2:5] == (wire.Protocol.HTTP2, 1, 16384)
    assert found[8] in shelf.rows["l7_inserts"]
    assert version(compiled(service()))[4] == 65535  # all of the traces that begin here


def test_what_is_the_same_is_shared_between_services() -> None:
    shelf = Shelf()
    one = service(rules=(deny(hosts=("a.example",)),))
    first, second = compiled(one, shelf), compiled(one, shelf)
    assert version(first)[7:12] == version(second)[7:12]  # configuration of the parser, insert, replies
    assert len(shelf.rows["l7_conditions"]) == 1
    for table in first.tables:
        assert not first.tables[table].keys() & second.tables[table].keys(), table  # all else is its own


def test_policies_that_are_the_same_are_one() -> None:
    workloads = tuple(Workload(f"w{number}", f"/mesh/w{number}") for number in range(20))
    rules = tuple(deny(f"r{n}", paths=("/a/**",), sources=(Source(workload=f"w{n}"),)) for n in range(2))
    found = compiled(service(rules=rules), workloads=workloads)
    assert counts(found)["policies"] == 3
    assert counts(found)["sources"] == 2  # the other eighteen are as nobody is
    assert version(found)[1] & wire.ServiceFlag.ASKS_WORKLOAD
    assert not version(found)[1] & wire.ServiceFlag.ASKS_ADDRESS


def test_addresses_that_mean_the_same_are_one_class() -> None:
    sources = tuple(Source(address=f"10.{number}.0.0/16") for number in range(200))
    found = compiled(service(rules=(deny(sources=sources),)))
    assert counts(found)["addresses"] == 200
    assert counts(found)["sources"] == 1
    assert {int.from_bytes(value, "little") for value in found.tables["l7_addresses"].values()} == {1}


def test_a_rule_of_two_hosts_and_an_odd_method_is_several() -> None:
    match = RequestMatch(methods=("GET", "POST", "PROPFIND"), hosts=("a.example", "*.b.example"))
    found = parts(match, Fields("http1"), "$")
    assert [(part.methods, [condition.text for condition in part.conditions]) for part in found] == [
        (0b101, [b"a.example"]), (0b101, [b".b.example"]),
        (1 << 15, [b"PROPFIND", b"a.example"]), (1 << 15, [b"PROPFIND", b".b.example"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hosts", "texts"),
    [
        (("A.example.", "a.EXAMPLE"), [b"a.example"]),
        (("*.example", "a.example", "*.b.example", "example"), [b".example", b"example"]),
        (("a.example", "a.example:80"), [b"a.example"]),
        (("a.example:80",), [b"a.example:80", b"a.example.:80"]),
        (("*.a.example:80",), [b".a.example:80", b".a.example.:80"]),
        (("[::1]", "[::1]:80"), [b"[::1]"]),
        (("myexample", "*.example"), [b"myexample", b".example"]),
    ],
)
def test_hosts_that_another_includes_are_left_out(hosts: tuple[str, ...], texts: list[bytes]) -> None:
    found = parts(RequestMatch(hosts=hosts), Fields("http1"), "$")
    assert [condition.text for part in found for condition in part.conditions] == texts


def test_a_grpc_method_is_a_path_and_post() -> None:
    calls = (GrpcMatch("pkg.Orders", "Get"), GrpcMatch("pkg.Users"))
    found = compiled(service(l7="grpc", rules=(deny(grpc=calls),)))
    (rule,) = found.tables["l7_rules"].values()
    assert wire.RULE.unpack(rule)[2] == 1 << wire.Method.POST
    assert counts(found)["segments"] == 3  # pkg.Orders, Get, pkg.Users: its methods are any segment


def test_headers_have_their_field_or_a_registered_name() -> None:
    names = ("User-Agent", "content-type", "x-b", "x-a", "X-B")
    headers = tuple(HeaderMatch(name, present=True) for name in names)
    shelf = Shelf()
    limit = Limit(name="l", rate="6/m", burst=3, key="header:X-Key")
    found = compiled(service(rules=(deny(headers=headers),), limits=(limit,)), shelf)
    asked = [wire.CONDITION.unpack(row)[0] for row in shelf.rows["l7_conditions"].values()]
    assert asked == [12, 11, 20, 21]  # x-b is asked for once: the condition is the same
    (row,) = found.tables["l7_limits"].values()
    number = shelf.names["limit", "l"]
    assert wire.LIMIT.unpack(row) == (10_000_000_000, 20_000_000_000, wire.LimitKey.FIELD, 22, 0, number)
    config = shelf.rows["l7_configs"][version(found)[7]]
    assert [config[at + 8 : at + 11] for at in (56, 104)] == [b"x-b", b"x-a"]


def test_numbers_of_names_stay() -> None:
    shelf = Shelf()
    limit, route = Limit(name="few", rate="1/s"), Route(name="all")
    compiled(service(limits=(limit,), routes=(route,)), shelf)
    before = dict(shelf.names)
    compiled(service(limits=(Limit(name="few", rate="9/s"),), routes=(route,), rules=(deny(),)), shelf)
    assert {name: shelf.names[name] for name in before} == before


@pytest.mark.parametrize(
    ("percentage", "argument"),
    [(100.0, 0xFFFFFFFF), (50.0, 1 << 31), (1e-9, 0), (99.999999999, 0xFFFFFFFE)],
)
def test_the_share_of_a_fault(percentage: float, argument: int) -> None:
    found = compiled(service(faults=(Fault(name="f", percentage=percentage),)))
    (row,) = found.tables["l7_rules"].values()
    assert wire.RULE.unpack(row)[5] == argument


def test_the_cgroups_that_rules_tell_apart() -> None:
    long = "/mesh/" + "x" * 80
    rules = (
        deny(sources=tuple(Source(cgroup=path) for path in ("/mesh/a", "/sys/fs/cgroup/mesh/b/", long))),
    )
    config = Config("mesh", "/mesh", services=(service(rules=rules),), workloads=(Workload("a", "/mesh/a"),))
    found = cgroups(config)
    assert found.pop("a") == "/mesh/a"
    assert found.pop("/mesh/b") == "/mesh/b"
    ((name, path),) = found.items()
    assert path == long
    assert len(name.encode()) <= 63


# --- what the tables cannot hold ------------------------------------------------------------------------------------


def refusal(one: Service, **fields: Any) -> EbpfMeshError:
    """The one problem of a service; compiling it says the same."""
    config = Config("mesh", "/mesh", services=(one,), **fields)
    (found,) = problems(one, config, "$.services[0]")
    with pytest.raises(type(found)) as caught:
        compile_service(one, config, Shelf(), key=KEY, where="$.services[0]")
    assert str(caught.value) == str(found)
    return found


def test_too_many_rules_for_a_path_are_named() -> None:
    rules = [deny(f"r{number}", paths=(f"/{'*/' * (number % 3)}x/**",)) for number in range(33)]
    assert problems(service(rules=tuple(rules[:30])), Config("mesh", "/mesh")) == []
    found = refusal(service(rules=tuple(deny(f"r{number}", paths=("/a/**",)) for number in range(33))))
    assert isinstance(found, CapacityError)
    assert "the path /a" in found.what and "33 rules" in found.what and "r0, r1, r2" in found.what
    assert found.where == "$.services[0]"
    many = refusal(service(rules=tuple(deny(f"r{number}") for number in range(10_000))))
    assert "r39 and 9960 more" in many.what


def test_a_rule_counts_once_for_each_host() -> None:
    hosts = tuple(f"h{number}.example" for number in range(33))
    found = refusal(service(rules=(deny(hosts=hosts),)))
    assert "every path has 33 rules" in found.what and "r (33)" in found.what
    exact = refusal(
        service(rules=(deny(hosts=hosts[:20], paths=("/a",)), deny("s", hosts=hosts[:20], paths=("/*",))))
    )
    assert "the path /a has 40 rules" in exact.what


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({"headers": tuple(HeaderMatch(f"x-{n}", present=True) for n in range(7))}, ".rules[0].headers", "7 things"),
        ({"headers": SIX, "hosts": ("a.example",)}, ".rules[0]", "7 things"),
        ({"headers": (HeaderMatch("x-a", exact="v" * 113),)}, ".rules[0].headers[0].exact", "113 bytes"),
        ({"headers": (HeaderMatch("authorization", exact="v"),)}, ".rules[0].headers[0]", "not kept"),
        ({"headers": (HeaderMatch("Transfer-Encoding", present=True),)}, ".rules[0].headers[0]", "the connection's"),
        ({"paths": ("/a", "/" + "a/" * 17)}, ".rules[0].paths[1]", "segments"),
        ({"paths": ("/a**",)}, ".rules[0].paths[0]", "whole segment"),
        ({"grpc": (GrpcMatch("a"),), "paths": ("/a",)}, ".rules[0]", "both grpc and paths"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_has_its_path(fields: dict[str, Any], where: str, what: str) -> None:
    found = refusal(service(rules=(deny(**fields),)))
    assert found.where == "$.services[0]" + where
    assert what in found.what


def test_a_ninth_header_is_one_too_many() -> None:
    rules = tuple(deny(f"r{n}", headers=(HeaderMatch(f"x-{n}", present=True),)) for n in range(8))
    assert problems(service(rules=rules), Config("mesh", "/mesh")) == []
    found = refusal(service(rules=rules, limits=(Limit(name="l", rate="1/s", key="header:x-more"),)))
    assert found.where == "$.services[0].limits[0].key"
    assert "x-0, x-1" in found.what and "x-more" in found.what


def test_templates_that_overlap_in_too_many_ways_are_refused_soon() -> None:
    # each of 15 positions may be fixed or not, independently: 2**15 sets of what is still possible
    paths = tuple("/" + "*/" * at + f"s{at}/" + "*/" * (14 - at) + "end" for at in range(15))
    began = time.perf_counter()
    found = refusal(service(rules=(deny("many", paths=paths),)))
    assert time.perf_counter() - began < 20
    assert "overlap in more than" in found.what and "many" in found.what


def test_an_unknown_reply_and_what_needs_l7() -> None:
    with pytest.raises(ConfigError, match="there is no reply 'gone'"):
        compiled(service(rules=(deny(reply="gone"),)))
    compiled(service(rules=(deny(reply="gone"),)), replies=(Reply("gone", 410),))
    with pytest.raises(ConfigError, match="the service has no l7"):
        compiled(service(l7=None, rules=(deny(paths=("/a",)),)))


# --- many -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/item/{}", "/api/v1/item/{}/**", "/api/*/item{}/x"])
def test_ten_thousand_rules_are_compiled_in_a_few_seconds(path: str) -> None:
    rules = tuple(deny(f"r{number}", paths=(path.format(number),)) for number in range(10_000))
    one = service(rules=rules)
    began = time.process_time()
    found = compiled(one)
    assert time.process_time() - began < 5
    exact = "*" not in path
    assert counts(found).get("paths", 0) == (10_000 if exact else 0)
    assert counts(found)["path_states"] == (1 if exact else pytest.approx(15_000, rel=0.4))
