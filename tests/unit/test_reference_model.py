"""The reference model by examples: each is a sentence of the documentation."""

from __future__ import annotations

from typing import Any

import pytest

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
from ebpfmesh.policy.path import BadPath
from ebpfmesh.policy.reference import METHOD, PATH, Client, Reason, Request, Verdict, decide

WORKLOADS = (
    Workload("shop", "/mesh/shop", "spiffe://example.org/ns/shop/sa/web", {"team": "pay"}),
    Workload("worker", "/mesh/shop/worker"),
)
ANYBODY = Client("/mesh/other", "10.0.0.1")


def ask(
    request: Request | None = None, client: Client = ANYBODY, exhausted: tuple[str, ...] = (), **fields: Any
) -> Verdict:
    """Decide a request (GET / unless given) to a service with these fields."""
    service = Service(
        **{"name": "web", "addresses": ("10.96.0.1:80", "10.96.0.1:81"), "l7": "http1", **fields}
    )
    config = Config(
        "mesh",
        "/mesh",
        services=(service,),
        workloads=WORKLOADS,
        replies=(Reply("gone", 410), Reply("bad", 418)),
    )
    return decide(config, service, client, get("/") if request is None else request, exhausted=exhausted)


def get(
    path: str | None = "/", method: str = "GET", host: str | None = "a.example", **fields: Any
) -> Request:
    """A request."""
    raw = None if path is None else path.encode()
    return Request(method.encode(), raw, None if host is None else host.encode(), **fields)


def rule(action: str, name: str = "", **fields: Any) -> Rule:
    """A rule."""
    return Rule(name=name or action, action=action, **fields)  # type: ignore[arg-type]


ALLOW_A, DENY_A = rule("allow", paths=("/a/**",)), rule("deny", paths=("/a/**",))


def test_without_rules_everything_is_allowed() -> None:
    assert (ask().allowed, ask().reason, ask().reply) == (True, Reason.BY_DEFAULT, None)


def test_a_service_that_allows_something_denies_the_rest() -> None:
    assert ask(get("/a/b"), rules=(ALLOW_A,)).rule == "allow"
    other = ask(get("/b"), rules=(ALLOW_A,))
    assert (other.allowed, other.reason, other.rule) == (False, Reason.NOT_ALLOWED, None)
    assert other.reply is not None and other.reply.status == 403


def test_a_denial_comes_before_what_allows_it_in_whatever_order() -> None:
    for rules in ((DENY_A, ALLOW_A), (ALLOW_A, DENY_A)):
        found = ask(get("/a"), rules=rules)
        assert (found.allowed, found.reason, found.rule) == (False, Reason.BY_RULE, "deny")


def test_an_audit_decides_nothing_and_is_told_of_denials_too() -> None:
    audit = rule("audit")
    assert (ask(rules=(audit,)).allowed, ask(rules=(audit,)).audited) == (True, True)
    denied = ask(rules=(audit, rule("deny")), routes=(Route(name="all"),))
    assert (denied.allowed, denied.audited, denied.route) == (False, True, "all")


def test_the_first_route_counts_and_every_limit() -> None:
    routes = tuple(
        Route(name=name, paths=(path,)) for name, path in (("a", "/a"), ("any", "/**"), ("also", "/a"))
    )
    limits = tuple(Limit(name=name, rate="1/s") for name in ("one", "two", "three"))
    found = ask(get("/a"), routes=routes, limits=limits)
    assert (found.route, found.limits) == ("a", ("one", "two", "three"))
    found = ask(get("/b"), routes=routes, limits=limits, exhausted=("two",))
    assert (found.route, found.limits, found.reason, found.rule) == (
        "any",
        ("one", "two"),
        Reason.LIMITED,
        "two",
    )
    assert found.reply is not None and found.reply.status == 429
    assert ask(limits=limits, rules=(rule("deny"),)).limits == ()  # what is denied takes no token


def test_a_fault_strikes_what_is_allowed() -> None:
    faults = (Fault(name="some", percentage=5.0), Fault(name="all", percentage=100.0, status=504))
    found = ask(faults=faults)
    assert (found.reason, found.rule, found.faults) == (Reason.FAULTED, "all", ("some", "all"))
    assert found.reply is not None and found.reply.status == 504


def test_a_path_that_cannot_be_normalised_is_refused_whatever_the_rules_say() -> None:
    found = ask(get("/a%2Fb"), rules=(rule("allow"), rule("audit", paths=("/x",))))
    assert (found.allowed, found.reason, found.bad_path) == (False, Reason.BAD_PATH, BadPath.SLASH)
    assert found.reply is not None and found.reply.status == 400
    assert not ask(get("/a", truncated=(PATH,)), rules=(DENY_A,)).allowed
    assert ask(get("/a%2Fb"), rules=(rule("allow"),)).allowed  # nobody asks for a path
    assert ask(get("/a;b"), rules=(DENY_A,)).reason is Reason.BAD_PATH
    assert ask(get("/a;b"), rules=(DENY_A,), http=Http(path_parameters="keep")).allowed


@pytest.mark.parametrize("path", ["*", None])
def test_a_request_without_a_path_is_none_that_a_path_means(path: str | None) -> None:
    assert ask(get(path, "OPTIONS"), rules=(rule("deny", paths=("/**",)),)).allowed
    assert not ask(get(path, "OPTIONS"), rules=(rule("allow", paths=("/**",)),)).allowed


@pytest.mark.parametrize(
    ("asked", "meant", "others"),
    [
        (
            Source(workload="shop"),
            ["/mesh/shop", "/mesh/shop/x"],
            ["/mesh/shop/worker", "/mesh", "/mesh/shopping"],
        ),
        (Source(spiffe="spiffe://example.org/ns/shop/*"), ["/mesh/shop"], ["/mesh/shop/worker", "/mesh"]),
        (Source(labels={"team": "pay"}), ["/mesh/shop"], ["/mesh/shop/worker"]),
        (Source(cgroup="/mesh/shop"), ["/mesh/shop", "/mesh/shop/worker/x"], ["/mesh", "/mesh/shop2"]),
        (Source(cgroup="/mesh/shop/worker", workload="worker"), ["/mesh/shop/worker"], ["/mesh/shop"]),
    ],
)
def test_who_a_source_means(asked: Source, meant: list[str], others: list[str]) -> None:
    for cgroup in meant + others:
        assert ask(client=Client(cgroup), rules=(rule("deny", sources=(asked,)),)).allowed == (
            cgroup in others
        ), cgroup


@pytest.mark.parametrize(
    ("text", "meant", "others"),
    [
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.0.0.1"], ["11.0.0.1", "fd00::1", None]),
        ("::/0", ["fd00::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3"], ["11.0.0.1"]),
        ("fd00::1", ["fd00::1"], ["fd00::2"]),
    ],
)
def test_which_addresses_a_range_means(text: str, meant: list[str], others: list[str | None]) -> None:
    for address in [*meant, *others]:
        client = Client("/", address)
        found = ask(client=client, rules=(rule("deny", sources=(Source(address=text),)),))
        assert found.allowed == (address in others), address


def test_a_port_is_that_which_was_connected_to() -> None:
    rules = (rule("deny", port=81),)
    assert [ask(client=Client("/", port=port), rules=rules).allowed for port in (80, 81, None)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("pattern", "meant", "others"),
    [
        ("shop.example", ["shop.example", "SHOP.example:8080", "shop.example.", "shop.example.:1", "shop.example:"],
         ["a.shop.example", "shop.example.x", None]),
        ("*.shop.example", ["a.shop.example", "a.b.SHOP.example:80"], ["shop.example", ".shop.example", "ashop.example"]),
        ("shop.example:80", ["shop.example:80", "shop.example.:80"], ["shop.example", "shop.example:8080"]),
        ("[::1]", ["[::1]", "[::1]:80"], ["[::2]"]),
    ],
)  # fmt: skip
def test_which_hosts_a_pattern_means(pattern: str, meant: list[str], others: list[str | None]) -> None:
    for host in [*meant, *others]:
        assert ask(get(host=host), rules=(rule("deny", hosts=(pattern,)),)).allowed == (host in others), host


def test_a_host_that_may_be_all_port_cannot_be_told_apart_from_it() -> None:
    request = get(host="shop.example:" + "0" * 40)
    assert not ask(request, rules=(rule("deny", hosts=("other.example",)),)).allowed
    assert not ask(request, rules=(rule("allow", hosts=("shop.example",)),)).allowed
    assert ask(
        request, rules=(rule("deny", hosts=("shop.example:80",)),)
    ).allowed  # with a port, the text is compared


def test_all_headers_have_to_hold() -> None:
    headers = (
        HeaderMatch("X-User", exact="root"),
        HeaderMatch("x-k", prefix="a"),
        HeaderMatch("x-z", present=False),
    )
    rules = (rule("deny", headers=headers),)
    assert not ask(get(headers={"x-user": b"root", "x-k": b"abc"}), rules=rules).allowed
    assert ask(get(headers={"x-user": b"root", "x-k": b"abc", "x-z": b""}), rules=rules).allowed
    assert ask(get(headers={"x-user": b"Root", "x-k": b"abc"}), rules=rules).allowed
    assert ask(get(headers={"x-user": b"root"}), rules=rules).allowed


def test_methods_are_as_they_are_written() -> None:
    rules = (rule("deny", methods=("GET", "PURGE")),)
    assert [ask(get(method=one), rules=rules).allowed for one in ("GET", "PURGE", "HEAD", "get", "PURGEX")] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_a_grpc_method_is_a_path_that_is_posted_to() -> None:
    rules = (rule("deny", grpc=(GrpcMatch("pkg.A", "Get"), GrpcMatch("B"))),)
    for path, method, denied in (
        ("/pkg.A/Get", "POST", True), ("/B/x", "POST", True), ("/pkg.A/Put", "POST", False), ("/pkg.A/Get", "GET", False),
        ("/B", "POST", False), ("/B/x/y", "POST", False),
    ):  # fmt: skip
        assert ask(get(path, method), rules=rules, l7="grpc").allowed != denied, path


@pytest.mark.parametrize("how", [{"repeated": ("x-user",)}, {"truncated": ("x-user",)}])
@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
def test_what_cannot_be_told_is_against_the_request_unless_the_rule_is_open(
    how: dict[str, Any], on_error: str
) -> None:
    closed = on_error == "fail_closed"
    request = get(headers={"x-user": b"guest"}, **how)
    match = {"headers": (HeaderMatch("x-user", exact="root"),), "on_error": on_error}
    assert ask(request, rules=(rule("deny", **match),)).allowed != closed
    assert ask(request, rules=(rule("allow", **match),)).allowed != closed
    assert ask(request, rules=(rule("audit", **match),)).audited == closed
    # what is surely false decides all the same
    assert ask(request, rules=(rule("deny", methods=("POST",), **match),)).allowed
    # that it came is sure
    assert not ask(
        request, rules=(rule("deny", headers=(HeaderMatch("x-user"),), on_error="fail_open"),)
    ).allowed


def test_limits_are_against_it_too_and_routes_and_faults_are_not() -> None:
    request = get(headers={}, truncated=("x-user",))
    match: dict[str, Any] = {"headers": (HeaderMatch("x-user", exact="root"),)}
    found = ask(
        request, limits=(Limit(name="l", rate="1/s", **match),), routes=(Route(name="r", **match),),
        faults=(Fault(name="f", percentage=100.0, **match),),
    )  # fmt: skip
    assert (found.limits, found.route, found.faults) == (("l",), None, ())


def test_a_method_that_was_cut_is_none_of_the_usual_ones() -> None:
    request = Request(b"A" * 3000, b"/", truncated=(METHOD,))
    assert ask(request, rules=(rule("deny", methods=("GET",)),)).allowed
    assert not ask(request, rules=(rule("deny", methods=("PURGE",)),)).allowed


def test_replies_are_the_rules_own_else_the_services() -> None:
    http = Http(default_reply="bad", bad_path_reply="gone")
    for fields, name in (
        ({"rules": (rule("deny", reply="gone"),)}, "gone"),
        ({"rules": (rule("deny"),), "http": http}, "bad"),
        ({"rules": (rule("allow", paths=("/x",)),), "http": http}, "bad"),
        ({"rules": (rule("deny"),)}, "403"),
    ):
        reply = ask(**fields).reply  # type: ignore[arg-type]
        assert reply is not None and reply.name == name
    bad = ask(get("/%"), rules=(DENY_A,), http=http).reply
    assert bad is not None and bad.name == "gone"


def test_a_service_without_l7_decides_connections() -> None:
    rules = (rule("allow", sources=(Source(workload="shop"),)),)
    service = Service("web", addresses=("10.96.0.1:80",), rules=rules)
    config = Config("mesh", "/mesh", services=(service,), workloads=WORKLOADS)
    assert decide(config, service, Client("/mesh/shop")).allowed
    found = decide(config, service, Client("/mesh"))
    assert (found.allowed, found.reason, found.reply) == (False, Reason.NOT_ALLOWED, None)


def test_it_says_what_was_looked_at() -> None:
    rules = (rule("deny", "no-b", paths=("/b",)), rule("deny", "posts", methods=("POST",)), ALLOW_A)
    found = ask(get("/a"), Client("/mesh/shop"), rules=rules)
    assert [str(step) for step in found.why] == [
        "deny no-b: the path is another", "deny posts: the method is another", "allow allow: matches",
    ]  # fmt: skip
    assert (found.matched, found.workload, found.path) == (("allow",), "shop", b"/a")
