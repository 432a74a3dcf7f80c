"""What is wrong with workloads, replies, rules, limits, faults and routes, each with its path; and what is right."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError, ConfigError
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
from ebpfmesh.policy.check import check_service, problems
from ebpfmesh.policy.header_check import LONGEST_NAME, LONGEST_TEXT
from ebpfmesh.policy.index import Index
from ebpfmesh.policy.known import Known
from ebpfmesh.policy.notice import notices

WORKLOADS = (
    Workload("checkout", "/mesh/checkout", "spiffe://example.org/ns/shop/sa/checkout", {"team": "pay"}),
    Workload("batch", "/mesh/batch"),
)
REPLIES = (Reply("gone", 410, "moved\n"),)


def mesh(*services: Any, **fields: Any) -> Config:
    """A configuration of these services."""
    given: dict[str, Any] = {
        "name": "mesh", "cgroup": "/mesh", "services": services, "workloads": WORKLOADS, "replies": REPLIES,
    }  # fmt: skip
    return Config(**given | fields)


def service(l7: Any = "http1", **fields: Any) -> Service:
    """A service without problems, with these fields instead."""
    given: dict[str, Any] = {
        "name": "web", "addresses": ("10.0.0.1:80",), "backends": ("127.0.0.1:8001",), "l7": l7,
    }  # fmt: skip
    return Service(**given | fields)


def said(one: Any, **fields: Any) -> list[str]:
    """The problems, as text; the same whether the service is looked at alone or among others."""
    config = mesh(one, **fields)
    whole = [str(problem) for problem in problems(config)]
    alone = check_service(one, Index(), "$.services[0]", known=Known.of(config))
    assert [str(problem) for problem in alone] == [text for text in whole if "$.services" in text]
    return whole


def of_rule(l7: Any = "http1", **fields: Any) -> list[str]:
    """The problems of a service of one denying rule, without the path of the rule."""
    found = said(service(l7, rules=[Rule("r", "deny", **fields)]))
    return [text.removeprefix("$.services[0].rules[0]") for text in found]


def test_a_sound_policy_has_no_problems() -> None:
    web = service(
        http=Http("pass", "fail_open", trace=True, sample=0.5, set_headers={"x-mesh": "a b"}, default_reply="gone"),
        rules=[
            Rule("one", "deny", sources=["checkout", "spiffe://example.org/*", "10.0.0.0/8", "/mesh/a"], paths=["/a/**"]),
            Rule("two", "allow", sources=[Source("batch", cgroup="/mesh/batch/x", address="fd00::/8")], methods=["GET"]),
            Rule("three", "audit", hosts=["Shop.example", "*.shop.example", "[fd00::1]", "10.0.0.1", "a_b"]),
            Rule("four", "deny", headers={"X-User": "root", "authorization": True, "x-no": False}, reply="gone", port=80),
            Rule("five", "deny", headers=[HeaderMatch("x-a", prefix="b "), HeaderMatch("x-e", exact="")]),
            Rule("six", "deny", methods=["PROPFIND", "GET"], paths=["/", "/a/*/b", "/%2A", "/é"]),
        ],
        limits=[Limit("seven", "100/s", 20, "header:x-user"), Limit("eight", "5/m", key="client-address", reply="gone")],
        faults=[Fault("nine", 0.001), Fault("ten", 100, status=404), Fault("eleven", 5, reply="gone")],
        routes=[Route("twelve", paths=["/a"]), Route("thirteen")],
        open_sockets="destroy",
    )  # fmt: skip
    calls = service(
        "grpc", name="calls", addresses=("10.0.0.2:80",),
        rules=[Rule("a", "allow", grpc=["shop.v1.Orders/Get", "shop.v1.Carts", GrpcMatch("Plain", "M")])],
    )  # fmt: skip
    plain = service(
        None, name="plain", addresses=("10.0.0.3:80", "10.0.0.3:81"),
        rules=[Rule("a", "allow", port=81, sources=["checkout"]), Rule("b", "deny"), Rule("c", "audit")],
    )  # fmt: skip
    names = service(
        None, name="dns", protocol="udp", addresses=("10.0.0.4:53",), rules=[Rule("a", "deny", sources=["batch"])]
    )  # fmt: skip
    assert [str(one) for one in problems(mesh(web, calls, plain, names))] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"methods": []}, ".methods: it is empty, and would match nothing (leave it out for any)"),
        ({"methods": ["get"]}, ".methods[0]: 'get' is no method: they are told apart by case (write 'GET')"),
        ({"methods": ["GET", "A B"]}, ".methods[1]: 'A B' is no method"),
        ({"methods": ["GET", "PUT", "GET"]}, ".methods[2]: 'GET' is $.services[0].rules[0].methods[0] already"),
        ({"methods": "GET"}, ".methods: expected array | null, got str"),
        ({"paths": ()}, ".paths: it is empty"),
        ({"paths": ["x"]}, ".paths[0]: 'x' does not begin with '/'"),
        ({"paths": ["/a?b"]}, ".paths[0]: '/a?b' has more than a path"),
        ({"paths": ["/a//b"]}, ".paths[0]: '/a//b' has a segment ''"),
        ({"paths": ["/a/./b"]}, ".paths[0]: '/a/./b' has a segment '.'"),
        ({"paths": ["/a/%2e%2E"]}, ".paths[0]: '/a/%2e%2E' has a segment '..'"),
        ({"paths": ["/**/b"]}, ".paths[0]: '/**/b': '*' is a whole segment, and '**' the last one"),
        ({"paths": ["/a*"]}, ".paths[0]: '/a*': '*' is a whole segment"),
        ({"paths": ["/a%2fb"]}, ".paths[0]: '/a%2fb' has an encoded slash"),
        ({"paths": ["/a%2"]}, ".paths[0]: '/a%2' has a '%' without two"),
        ({"paths": ["/a\\b"]}, ".paths[0]: '/a\\\\b' has a backslash"),
        ({"paths": ["/a;b"]}, ".paths[0]: '/a;b' has a ';', encoded or not, and the service refuses such paths"),
        ({"paths": ["/a%3Bb"]}, ".paths[0]: '/a%3Bb' has a ';', encoded or not, and the service refuses such paths"),
        ({"paths": ["/a\ud800"]}, ".paths[0]: '/a\\ud800' is no text"),
        ({"paths": ["/" + "a/" * 16]}, ".paths[0]: "),
        ({"paths": ["/a", "/a"]}, ".paths[1]: '/a' is $.services[0].rules[0].paths[0] already"),
        ({"hosts": ["*"]}, ".hosts[0]: '*' is no host"),
        ({"hosts": ["a.*.b"]}, ".hosts[0]: 'a.*.b' is no host"),
        ({"hosts": ["a:80"]}, ".hosts[0]: 'a:80' is no host (leave the port out: 'a' is the host with any port)"),
        ({"hosts": ["a."]}, ".hosts[0]: 'a.' is no host"),
        ({"hosts": ["bücher.example"]}, ".hosts[0]: 'bücher.example' is no host (write it as it is sent: \"xn--…\")"),
        ({"hosts": ["a" * 113]}, f".hosts[0]: '{'a' * 40}'… has 113 bytes, and a condition holds 112"),
        ({"headers": ()}, ".headers: it is empty"),
        ({"headers": ["Host"]}, ".headers[0].name: Host is asked for by itself (write hosts = "),
        ({"headers": ["x y"]}, ".headers[0].name: 'x y' is no name of a header"),
        ({"headers": ["x" * 41]}, f".headers[0].name: '{'x' * 41}' is longer than the 40 characters that are read"),
        ({"headers": ["x", "X"]}, ".headers[1]: 'X' is $.services[0].rules[0].headers[0] already (ask once)"),
        ({"headers": [HeaderMatch("x", "a", "b")]}, ".headers[0]: it asks for exact and prefix"),
        ({"headers": [HeaderMatch("x", "a", present=True)]}, ".headers[0]: it asks for exact and present"),
        ({"headers": {"x": "a\r\nb: c"}}, ".headers[0].exact: 'a\\r\\nb: c' is no value of a header"),
        ({"headers": {"x": " a"}}, ".headers[0].exact: ' a' is no value of a header"),
        ({"headers": {"x": "ä"}}, ".headers[0].exact: 'ä' is no value of a header"),
        ({"headers": [HeaderMatch("x", prefix="")]}, ".headers[0].prefix: '' begins no value of a header"),
        ({"headers": {"x": "a" * 113}}, f".headers[0].exact: '{'a' * 40}'… has 113 bytes"),
        ({"headers": {"x": 5}}, ".headers[0].exact: expected str | null, got int"),
        ({"headers": {"connection": "close"}}, ".headers[0]: the header 'connection' of http1 cannot be asked for"),
        ({"headers": {"authorization": "Bearer x"}}, ".headers[0]: the value of 'authorization' is not kept as text"),
        ({"headers": [f"h{n}" for n in range(7)]}, ".headers: it asks for 7 things"),
        ({"grpc": ["a.B"]}, ".grpc: gRPC is HTTP/2, and the service has l7 = \"http1\""),
        ({"sources": []}, ".from: it is empty, and would match nobody (leave it out for anybody)"),
        ({"sources": [Source()]}, ".from[0]: it says nothing about where a request comes from"),
        ({"sources": ["chekout"]}, ".from[0].workload: there is no workload 'chekout' (did you mean 'checkout'?)"),
        ({"sources": ["spiffe://x"]}, ".from[0].spiffe: 'spiffe://x' is the trust domain's own id"),
        ({"sources": ["spiffe://x*"]}, ".from[0].spiffe: 'spiffe://x*': \"*\" stands for everything behind a"),
        ({"sources": [Source(labels={})]}, ".from[0].labels: it is empty, and every workload would have it"),
        ({"sources": [Source(labels={"team": "x"})]}, ".from[0].labels: no workload has team = 'x'"),
        ({"sources": ["/other"]}, ".from[0].cgroup: '/other' is outside of the mesh's cgroup '/mesh'"),
        ({"sources": ["/mesh" + "/a" * 15]}, f".from[0].cgroup: '/mesh{'/a' * 15}' is 16 levels below the mount, and 15"),
        ({"sources": ["/mesh/../x"]}, ".from[0].cgroup: '/mesh/../x' is no absolute path"),
        ({"sources": ["10.0.0.1/8"]}, ".from[0].address: '10.0.0.1/8' has bits set behind its prefix"),
        ({"sources": ["::/129"]}, ".from[0].address: '::/129' is no range of addresses"),
        ({"sources": [{"workload": "checkout"}]}, ".from[0]: it is dict, not a Source"),
        ({"port": 81}, ".port: 81 is no port of the service (one of: 80)"),
        ({"reply": "gon"}, ".reply: there is no reply 'gon' (did you mean 'gone'?)"),
        ({"on_error": "open"}, ".on_error: invalid enum value 'open' (one of: fail_closed, fail_open)"),
    ],
)  # fmt: skip
def test_each_problem_of_a_rule_has_its_path(fields: dict[str, Any], expected: str) -> None:
    [found] = of_rule(**fields)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"grpc": ["a..B"]}, ".grpc[0].service: 'a..B' is no gRPC service"),
        ({"grpc": ["a.B/*"]}, ".grpc[0].method: '*' is no gRPC method (leave it out for every method)"),
        ({"grpc": ["a.B/"]}, ".grpc[0].method: '' is no gRPC method"),
        ({"grpc": []}, ".grpc: it is empty"),
        ({"grpc": ["a.B"], "paths": ["/x"]}, ".grpc: it says the paths already (leave paths out)"),
        ({"grpc": ["a.B"], "methods": ["POST"]}, ".grpc: it says the methods already (leave methods out)"),
        ({"headers": {"te": "trailers"}}, ".headers[0]: the header 'te' of grpc cannot be asked for"),
    ],
)
def test_each_problem_of_a_grpc_rule_has_its_path(fields: dict[str, Any], expected: str) -> None:
    [found] = of_rule("grpc", **fields)
    assert found.startswith(expected)


@pytest.mark.parametrize("field", ["methods", "paths", "hosts", "headers", "grpc"])
def test_without_l7_no_rule_sees_a_part_of_the_request(field: str) -> None:
    given = {"methods": ["GET"], "paths": ["/a"], "hosts": ["a"], "headers": ["a"], "grpc": ["a.B"]}
    assert of_rule(None, **{field: given[field]}) == [
        f".{field}: it asks for a part of the request, and the service has no l7 "
        '(give the service l7 = "http1", "http2" or "grpc")'
    ]


def test_without_l7_the_client_has_no_address_and_sees_no_reply() -> None:
    [found] = of_rule(None, sources=["10.0.0.0/8"])
    assert found.startswith(
        ".from[0].address: a service without l7 is judged at connect(), when the client has no"
    )
    [found] = of_rule(None, reply="gone")
    assert found.startswith(
        ".reply: without l7 a client is refused by connect() with EACCES, and sees no reply"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"limits": [Limit("a", "1/s")]}, ".limits: they are about requests, and the service has no l7"),
        ({"faults": [Fault("a", 1)]}, ".faults: they are about requests"),
        ({"routes": [Route("a")]}, ".routes: they are about requests"),
        ({"http": Http(trace=True)}, ".http: it is about requests"),
        ({"open_sockets": "destroy"}, ".open_sockets: it is about connections whose requests are judged"),
    ],
)
def test_what_is_about_requests_needs_l7(fields: dict[str, Any], expected: str) -> None:
    [found] = said(service(None, **fields))
    assert found.startswith(f"$.services[0]{expected}")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"protocol": "udp"}, ".l7: http1 is spoken over TCP, and the service is udp"),
        ({"l7": "http3"}, ".l7: invalid enum value 'http3' (one of: http1, http2, grpc)"),
        ({"rules": 5}, ".rules: expected array, got int"),
        ({"rules": None}, ".rules: expected array, got null"),
        ({"rules": ["x"]}, ".rules[0]: expected object, got str"),
        ({"rules": [{"name": "a", "action": "deny"}]}, ".rules[0]: it is dict, not a Rule"),
        ({"rules": [Rule("a", "refuse")]}, ".rules[0].action: invalid enum value 'refuse' (one of: allow, deny, audit)"),  # type: ignore[arg-type]
        ({"rules": [Rule("", "deny")]}, ".rules[0].name: '' is no name"),
        ({"rules": [Rule("x" * 64, "deny")]}, f".rules[0].name: '{'x' * 64}' is no name"),
        ({"rules": [Rule("a", "deny"), Rule("a", "deny")]}, ".rules[1].name: the name 'a' is that of $.services[0].rules"),
        ({"rules": [Rule("a", "deny")], "routes": [Route("a")]}, ".routes[0].name: the name 'a' is that of $.services[0]"),
        ({"rules": [Rule("a", "allow", reply="gone")]}, ".rules[0].reply: a rule with action = \"allow\" answers nothing"),
        ({"limits": [Limit("a", "5/d")]}, ".limits[0].rate: '5/d' is no rate"),
        ({"limits": [Limit("a", "5/s", 0)]}, ".limits[0].burst: 0 requests at once is no burst (1 to 1000000)"),
        ({"limits": [Limit("a", "5000000/h")]}, ".limits[0].burst: 5000000 requests at once, the number in rate, is no"),
        ({"limits": [Limit("a", "5/s", key="ip")]}, ".limits[0].key: 'ip' is no key of a limit (one of: service, client-"),
        ({"limits": [Limit("a", "5/s", key="header:")]}, ".limits[0].key: '' is no name of a header"),
        ({"limits": [Limit("a", "5/s", key="header:connection")]}, ".limits[0].key: the header"),
        ({"limits": [Limit("a", "5/s", reply="x")]}, ".limits[0].reply: there is no reply 'x' (there are: gone)"),
        ({"limits": [Limit("a", "5/s", sources=["nobody"])]}, ".limits[0].from[0].workload: there is no workload"),
        ({"faults": [Fault("a", 0)]}, ".faults[0].percentage: 0 is no percentage"),
        ({"faults": [Fault("a", 100.5)]}, ".faults[0].percentage: 100.5 is no percentage"),
        ({"faults": [Fault("a", float("nan"))]}, ".faults[0].percentage: nan is no percentage"),
        ({"faults": [Fault("a", 1, 600)]}, ".faults[0].status: 600 is no final status"),
        ({"faults": [Fault("a", 1, 503, "gone")]}, ".faults[0].status: the reply 'gone' has a status of its own"),
        ({"http": Http("proxy")}, ".http.undecodable: handing traffic over to a proxy is not built yet"),
        ({"http": Http(sample=1.5)}, ".http.sample: 1.5 is no share"),
        ({"http": Http(sample=float("nan"))}, ".http.sample: nan is no share"),
        ({"http": Http(set_headers={"host": "x"})}, ".http.set_headers.host: this header is the mesh's own"),
        ({"http": Http(set_headers={"x": "a\nb"})}, ".http.set_headers.x: 'a\\nb' is no value of a header"),
        ({"http": Http(set_headers={"x": "a" * 500})}, ".http.set_headers: these headers take"),
        ({"http": Http(bad_path_reply="x")}, ".http.bad_path_reply: there is no reply 'x' (there are: gone)"),
        ({"http": 5}, ".http: expected object, got int"),
    ],
)  # fmt: skip
def test_each_problem_of_a_policy_has_its_path(fields: dict[str, Any], expected: str) -> None:
    [found] = said(service(**{"l7": "http1"} | fields))
    assert found.startswith(f"$.services[0]{expected}")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("a", 199), "$.replies[0].status: 199 is no final status (200 to 599)"),
        (Reply("a", 600), "$.replies[0].status: 600 is no final status (200 to 599)"),
        (Reply("", 403), "$.replies[0].name: '' is no name of a reply"),
        (Reply("a", 204, body="x"), "$.replies[0].body: a 204 has no body (leave it out)"),
        (Reply("a", 302), "$.replies[0].location: a 302 says where to go instead"),
        (Reply("a", 403, location="/x"), "$.replies[0].location: a 403 leads nowhere"),
        (Reply("a", 302, location="/x y"), "$.replies[0].location: '/x y' is no value of a header"),
        (Reply("a", 403, headers={"Connection": "x"}), "$.replies[0].headers.Connection: this header is the mesh's own"),
        (Reply("a", 403, headers={"x": "a\r\nb"}), "$.replies[0].headers.x: 'a\\r\\nb' is no value of a header"),
        (Reply("a", 403, body="x" * 1024), "$.replies[0]: the reply takes "),
        (Reply("a", 403, body=5), "$.replies[0].body: expected str, got int"),  # type: ignore[arg-type]
        ({"name": "a", "status": 403}, "$.replies[0]: it is dict, not a Reply"),
    ],
)  # fmt: skip
def test_each_problem_of_a_reply_has_its_path(reply: Any, expected: str) -> None:
    [found] = [str(one) for one in problems(mesh(replies=(reply,)))]
    assert found.startswith(expected)


def test_replies_have_different_names() -> None:
    found = [str(one) for one in problems(mesh(replies=(Reply("a", 403), Reply("a", 404))))]
    assert found == [
        "$.replies[1].name: the name 'a' is that of $.replies[0] already (names are unique in a mesh)"
    ]


def test_redirects_and_replies_without_a_body_are_taken() -> None:
    replies = (
        Reply("a", 302, location="https://x/"),
        Reply("b", 204),
        Reply("c", 201, location="/x"),
        Reply("d", 304),
    )
    assert problems(mesh(replies=replies)) == []


def test_every_problem_is_found_and_not_just_the_first() -> None:
    wrong = service(
        rules=[
            Rule("a", "deny", methods=["get"], paths=["x", "/a*"], sources=["nobody", "10.0.0.1/8"], port=1)
        ],
        limits=[Limit("a", "x", key="y")],
    )
    where = [
        one.where for one in problems(mesh(wrong, workloads=(Workload("?", "/x"),), replies=(Reply("b", 1),)))
    ]
    assert where == [
        "$.workloads[0].name",
        "$.workloads[0].cgroup",
        "$.replies[0].status",
        "$.services[0].rules[0].methods[0]",
        "$.services[0].rules[0].paths[0]",
        "$.services[0].rules[0].paths[1]",
        "$.services[0].rules[0].from[0].workload",
        "$.services[0].rules[0].from[1].address",
        "$.services[0].rules[0].port",
        "$.services[0].limits[0].name",
        "$.services[0].limits[0].rate",
        "$.services[0].limits[0].key",
    ]


def test_the_lengths_are_those_of_the_tables() -> None:
    from ebpfmesh.l7.contract import NAME_LENGTH
    from ebpfmesh.policy.wire import CONDITION_TEXT

    assert (LONGEST_NAME, LONGEST_TEXT) == (NAME_LENGTH, CONDITION_TEXT)


def test_what_the_kernel_cannot_hold_names_the_rules() -> None:
    many = service(rules=[Rule(f"rule-{n}", "deny", hosts=[f"h{n}.example"]) for n in range(40)])
    [problem] = problems(mesh(many))
    assert isinstance(problem, CapacityError)
    assert "rule-0, rule-1" in problem.what
    assert "32 fit" in problem.what
    many = service(rules=[Rule(f"rule-{n}", "deny", headers=[f"x-{n}"]) for n in range(9)])
    [problem] = problems(mesh(many))
    assert isinstance(problem, CapacityError)
    assert problem.where == "$.services[0].rules[8].headers[0]"
    assert "more than 8 headers" in problem.what
    many = service(rules=[Rule(f"rule-{n}", "deny", headers=[f"x-{n % 8}", "user-agent"]) for n in range(9)])
    assert problems(mesh(many)) == []


def test_paths_with_parameters_are_taken_where_they_are_kept() -> None:
    kept = service(http=Http(path_parameters="keep"), rules=[Rule("a", "deny", paths=["/a;b", "/%3b"])])
    assert said(kept) == []


def test_a_service_that_is_put_alone_knows_the_workloads_that_it_is_given() -> None:
    one = service(rules=[Rule("a", "deny", sources=["checkout"], reply="gone")])
    assert check_service(one, Index(), known=Known.of(mesh())) == []
    assert [type(problem) for problem in check_service(one, Index())] == [ConfigError, ConfigError]


def test_sources_that_mean_nobody_are_worth_a_notice() -> None:
    one = service(rules=[Rule("a", "deny", sources=["spiffe://example.org/ns/other/*", "checkout"])])
    assert [str(notice) for notice in notices(mesh(one))] == [
        "$.services[0].rules[0].from[0].spiffe: no workload has such an id, so it means nobody"
    ]
    assert notices(mesh(service(rules=[Rule("a", "deny", sources=["spiffe://example.org/*"])]))) == []


def test_a_route_behind_one_for_everything_is_worth_a_notice() -> None:
    one = service(routes=[Route("a", paths=["/a"]), Route("rest"), Route("b", paths=["/b"])])
    assert [str(notice) for notice in notices(mesh(one))] == [
        "$.services[0].routes[2]: the route 'rest' before it takes every request, so nothing is counted under it"
    ]


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["GET", "/a/**", "/*", "a.example", "x-user", "checkout", "10.0.0.0/8", "spiffe://e/*", "5/s"]
    ),
)
ANY_RULE = st.builds(
    Rule,
    TEXTS,
    st.sampled_from(["allow", "deny", "audit"]),
    port=st.none() | st.integers(0, 70000),
    reply=st.none() | TEXTS,
    methods=st.none() | st.lists(TEXTS, max_size=3),
    paths=st.none() | st.lists(TEXTS | TEXTS.map(lambda text: f"/{text}"), max_size=3),
    hosts=st.none() | st.lists(TEXTS, max_size=3),
    headers=st.none() | st.dictionaries(TEXTS, TEXTS | st.booleans(), max_size=3),
    grpc=st.none() | st.lists(TEXTS, max_size=2),
    sources=st.none() | st.lists(TEXTS, max_size=3),
)


@given(
    rules=st.lists(ANY_RULE, max_size=3),
    limits=st.lists(st.builds(Limit, TEXTS, TEXTS, st.none() | st.integers(), TEXTS), max_size=2),
    l7=st.sampled_from([None, "http1", "grpc"]),
)
@settings(deadline=None)
def test_whatever_a_policy_says_it_is_sound_or_has_problems_with_paths(
    rules: list[Rule], limits: list[Limit], l7: Any
) -> None:
    for problem in problems(mesh(service(l7, rules=rules, limits=limits))):
        assert isinstance(problem, ConfigError | CapacityError)
        assert problem.where.startswith("$.services[0]")
        assert problem.what


def test_checking_policies_takes_time_in_proportion_to_them() -> None:
    rules = [
        Rule(f"r{n}", "deny", sources=["checkout"], paths=[f"/a{n}/b/**"], headers={"x": "y"})
        for n in range(500)
    ]
    whole = mesh(*[service(name=f"s{n}", addresses=(f"10.0.1.{n}:80",), rules=rules) for n in range(4)])
    start = time.process_time()
    assert problems(whole) == []
    assert time.process_time() - start < 3
