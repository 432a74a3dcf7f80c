"""Plans of policy: each change of workloads, replies, rules, limits, faults, routes and settings is told."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

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
)
from ebpfmesh.policy.describe import describe
from ebpfmesh.policy.plan import Edited, Plan, ReplyChanged, ServiceChanged, WorkloadChanged, diff
from ebpfmesh.tiers.connect.draft import digest_of


def mesh(*services: Service, **fields: Any) -> Config:
    return Config("mesh", "/mesh", services, **fields)


ADMIN = Rule("no-admin", "deny", paths=("/admin/**",))
USER = Limit("one-user", "100/s", 20, "header:x-user")


def test_a_plan_shows_every_change_of_policy() -> None:
    old = mesh(
        Service("web", l7="http1", rules=(ADMIN, Rule("b", "allow"), Rule("gone", "audit")), limits=(USER,)),
        Service("same", l7="http2", rules=(ADMIN,)),
        workloads=(Workload("checkout", "/mesh/c"), Workload("old", "/mesh/o")),
        replies=(Reply("gone", 410, "a"),),
    )
    new = mesh(
        Service(
            "web",
            l7="grpc",
            http=Http(trace=True, sample=0.5, set_headers={"x": "y"}, default_reply="gone"),
            rules=(
                Rule("b", "allow"),
                Rule("no-admin", "deny", paths=("/admin/**", "/x"), reply="gone"),
                Rule("new", "audit", sources=(Source("checkout"), Source(address="10.0.0.0/8"))),
            ),
            faults=(Fault("some", 0.5),),
            routes=(Route("search", methods=("GET",), paths=("/search",)),),
            open_sockets="destroy",
        ),
        Service("same", l7="http2", rules=(ADMIN,)),
        workloads=(Workload("checkout", "/mesh/c", labels={"team": "pay"}), Workload("new", "/mesh/n")),
        replies=(Reply("gone", 410, "b"), Reply("other", 302, location="/")),
    )
    assert str(diff(old, new)) == (
        "~ workload checkout: /mesh/c -> /mesh/c, team=pay\n"
        "+ workload new: /mesh/n\n"
        "- workload old: /mesh/o\n"
        "~ reply gone: 410, text/plain; charset=utf-8, 1 B, with other contents\n"
        "+ reply other: 302, to /\n"
        "~ service web\n"
        "    ~ l7: http1 -> grpc\n"
        "    ~ open_sockets: leave -> destroy\n"
        "    ~ http.trace: false -> true\n"
        "    ~ http.sample: 1.0 -> 0.5\n"
        "    ~ http.set_headers: none -> x: y\n"
        "    ~ http.default_reply: none -> gone\n"
        "    ~ rule no-admin: deny /admin/** -> deny /admin/**, /x, reply gone\n"
        "    + rule new: audit everything from checkout, 10.0.0.0/8\n"
        "    - rule gone: audit everything\n"
        "    ~ rules: in another order\n"
        "    - limit one-user: 100/s, burst 20 per header:x-user, of everything\n"
        "    + fault some: 0.5 % of everything with 503\n"
        "    + route search: GET /search\n"
        "services: 0 added, 1 changed, 0 removed, 1 unchanged; 3 workloads changed; 2 replies changed"
    )


def test_the_rules_of_a_new_service_are_counted() -> None:
    added = mesh(
        Service("web", l7="http1", rules=(ADMIN, Rule("b", "allow")), limits=(USER,)),
        workloads=(Workload("a", "/mesh/a"),),
    )
    assert str(diff(None, added)) == (
        "+ workload a: /mesh/a\n"
        "+ service web: tcp no address, 0 backends, round-robin, http1, 2 rules, 1 limit\n"
        "services: 1 added, 0 changed, 0 removed, 0 unchanged; 1 workload changed"
    )


def test_a_change_of_rules_alone_is_a_change_of_the_service() -> None:
    for fields in (
        {"rules": (ADMIN,)}, {"limits": (USER,)}, {"faults": (Fault("f", 1),)}, {"routes": (Route("r"),)},
        {"http": Http(trace=True)}, {"l7": "http2"}, {"open_sockets": "destroy"},
    ):  # fmt: skip
        plan = diff(mesh(Service("web", l7="http1")), mesh(Service("web", **{"l7": "http1"} | fields)))  # type: ignore[arg-type, dict-item]
        assert [type(change) for change in plan.changes] == [ServiceChanged], fields
        assert plan.unchanged == 0
    assert digest_of(Service("web"), 0) != digest_of(Service("web", rules=(Rule("r", "deny"),)), 0)


def test_a_service_without_policy_has_the_digest_that_it_had_before_there_was_policy() -> None:
    """Otherwise an agent that takes over from one of an older version would write every service anew."""
    kept = {
        "name": "web", "addresses": ["10.0.0.1:80"], "backends": [{"address": "127.0.0.1:1"}], "balance": {"name": "maglev"}
    }  # fmt: skip
    service = Service("web", addresses=("10.0.0.1:80",), backends=("127.0.0.1:1",), balance="maglev")  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(service)) == kept


def test_one_line_says_what_a_part_is() -> None:
    assert [
        describe(one)
        for one in (
            Rule(
                "r",
                "deny",
                methods=("GET", "POST"),
                paths=("/a", "/b/**"),
                hosts=("a.example",),
                headers=(
                    HeaderMatch("x", "1"),
                    HeaderMatch("y", prefix="2"),
                    HeaderMatch("z"),
                    HeaderMatch("n", present=False),
                ),
                sources=(Source(labels={"team": "pay"}, address="10.0.0.0/8"), Source(spiffe="spiffe://e/*")),
                port=80,
                on_error="fail_open",
            ),
            Rule("r", "allow", grpc=(GrpcMatch("a.B", "C"), GrpcMatch("a.D"))),
            Limit("l", "5/m", reply="gone"),
            Fault("f", 5, 404, paths=("/x",)),
            Fault("f", 5, reply="gone"),
            Route("r"),
            Workload("w", "/mesh/w", "spiffe://e/w", {"a": "b"}),
            Reply("r", 403, "no", headers={"x": "y"}),
        )
    ] == [
        "deny GET|POST /a, /b/** at a.example with x: 1 and y: 2… and z and no n "
        "from team=pay & 10.0.0.0/8, spiffe://e/* to port 80; when it cannot be told: fail open",
        "allow grpc a.B/C, grpc a.D/*",
        "5/m per service, of everything, reply gone",
        "5 % of /x with 404",
        "5 % of everything, reply gone",
        "everything",
        "/mesh/w, spiffe://e/w, a=b",
        "403, text/plain; charset=utf-8, 2 B, x: y",
    ]  # fmt: skip


NAMES = st.sampled_from("abcd")


def named(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(parts, max_size=4, unique_by=lambda part: part.name).map(tuple)


RULES = st.builds(
    Rule, NAMES, st.sampled_from(["allow", "deny"]), paths=st.sampled_from([None, ("/a",), ("/b",)])
)
LIMITS = st.builds(Limit, NAMES, st.sampled_from(["1/s", "2/s"]))
FAULTS = st.builds(Fault, NAMES, st.sampled_from([1.0, 2.0]))
ROUTES = st.builds(Route, NAMES)
SERVICES = st.builds(
    Service,
    st.just("s"),
    l7=st.sampled_from(["http1", "http2"]),
    http=st.builds(Http, trace=st.booleans()),
    rules=named(RULES), limits=named(LIMITS), faults=named(FAULTS), routes=named(ROUTES),
)  # fmt: skip
CONFIGS = st.builds(
    lambda service, workloads, replies: mesh(service, workloads=workloads, replies=replies),
    SERVICES,
    named(st.builds(Workload, NAMES, st.sampled_from(["/mesh/a", "/mesh/b"]))),
    named(st.builds(Reply, NAMES, st.sampled_from([403, 404]))),
)


def made(old: tuple[Any, ...], edits: Any) -> dict[str, Any]:
    """The parts by name, once each edit has been made to them."""
    parts = {one.name: one for one in old}
    for edit in edits:
        assert parts.get(edit.name) == edit.old
        assert edit.old != edit.new
        if edit.new is None:
            del parts[edit.name]
        else:
            parts[edit.name] = edit.new
    return parts


def by_name(parts: tuple[Any, ...]) -> dict[str, Any]:
    return {one.name: one for one in parts}


@given(old=CONFIGS, new=CONFIGS)
@settings(deadline=None)
def test_making_the_edits_of_a_plan_leads_to_the_new_policy(old: Config, new: Config) -> None:
    plan = diff(old, new)
    workloads = [one for one in plan.changes if isinstance(one, WorkloadChanged)]
    replies = [one for one in plan.changes if isinstance(one, ReplyChanged)]
    assert made(old.workloads, workloads) == by_name(new.workloads)
    assert made(old.replies, replies) == by_name(new.replies)
    [before], [after] = old.services, new.services
    changed = [one for one in plan.changes if isinstance(one, ServiceChanged)]
    assert bool(changed) is (before != after)
    for change in changed:
        for kind in ("rules", "limits", "faults", "routes"):
            edits: tuple[Edited[Any], ...] = getattr(change, kind)
            assert made(getattr(before, kind), edits) == by_name(getattr(after, kind))
            if not edits:
                assert (kind in change.reordered) is (getattr(before, kind) != getattr(after, kind))
        fields = {one.field: one.new for one in change.policy}
        assert fields.get("l7", before.l7) == after.l7
        assert fields.get("http.trace", before.http.trace) == after.http.trace
    assert msgspec.json.decode(plan.to_json(), type=Plan) == plan
    assert str(plan).count("\n") >= len(plan.changes)
