"""Reading policy: the short forms, in TOML and in Python, and what is refused with its path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ebpfmesh.errors import ConfigError
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
    toml,
)

FILE = """
name = "shop"
cgroup = "/shop"

[[workloads]]
name = "checkout"
cgroup = "/shop/checkout"
labels = { team = "pay" }

[[replies]]
name = "gone"
status = 410

[[services]]
name = "web"
l7 = "http1"
http = { trace = true, set_headers = { x-mesh = "shop" } }
limits = [{ name = "l", rate = "5/m", from = ["checkout"] }]
faults = [{ name = "f", percentage = 1 }]
routes = [{ name = "o", grpc = ["a.B", "a.C/D"] }]

[[services.rules]]
name = "r"
action = "deny"
from = [
    "checkout", "spiffe://example.org/*", "/shop/x", "10.0.0.0/8", "10.0.0.7", "fd00::1", "fd00::/8",
    { workload = "a", address = "10.0.0.1" },
]
headers = { x-user = "root", x-debug = false }
reply = "gone"

[[services.rules]]
name = "s"
action = "audit"
headers = ["x-user", { name = "x-role", prefix = "a" }]
"""

SOURCES = [
    Source(workload="checkout"),
    Source(spiffe="spiffe://example.org/*"),
    Source(cgroup="/shop/x"),
    Source(address="10.0.0.0/8"),
    Source(address="10.0.0.7"),
    Source(address="fd00::1"),
    Source(address="fd00::/8"),
    Source(workload="a", address="10.0.0.1"),
]


def test_a_file_and_python_make_the_same_policy() -> None:
    short: Any = [
        "checkout",
        "spiffe://example.org/*",
        "/shop/x",
        "10.0.0.0/8",
        "10.0.0.7",
        "fd00::1",
        "fd00::/8",
    ]
    headers: Any = {"x-user": "root", "x-debug": False}
    listed: Any = ["x-user", HeaderMatch("x-role", prefix="a")]
    calls: Any = ["a.B", "a.C/D"]
    web = Service(
        "web",
        l7="http1",
        http=Http(trace=True, set_headers={"x-mesh": "shop"}),
        limits=[Limit("l", "5/m", sources=["checkout"])],  # type: ignore[arg-type, list-item]
        faults=[Fault("f", 1)],  # type: ignore[arg-type]
        routes=(one for one in [Route("o", grpc=calls)]),  # type: ignore[arg-type]
        rules=[  # type: ignore[arg-type]
            Rule("r", "deny", sources=[*short, SOURCES[-1]], headers=headers, reply="gone"),  # type: ignore[arg-type]
            Rule("s", "audit", headers=listed),
        ],
    )
    config = toml.loads(FILE)
    assert config == Config(
        "shop",
        "/shop",
        [web],  # type: ignore[arg-type]
        workloads=[Workload("checkout", "/shop/checkout", labels={"team": "pay"})],  # type: ignore[arg-type]
        replies=[Reply("gone", 410)],  # type: ignore[arg-type]
    )
    [rule, other] = config.services[0].rules
    assert rule.sources == tuple(SOURCES)
    assert rule.headers == (HeaderMatch("x-user", exact="root"), HeaderMatch("x-debug", present=False))
    assert other.headers == (HeaderMatch("x-user"), HeaderMatch("x-role", prefix="a"))
    assert config.services[0].routes[0].grpc == (GrpcMatch("a.B"), GrpcMatch("a.C", "D"))
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


def test_a_header_in_its_long_form_without_a_list_is_that_header() -> None:
    """And not two headers called name and exact, which would be a rule that quietly never matches."""
    given: Any = {"name": "x-user", "exact": "root"}
    assert Rule("r", "deny", headers=given).headers == (HeaderMatch("x-user", exact="root"),)
    read = toml.loads(
        'name = "x"\ncgroup = "/x"\n[[services]]\nname = "a"\n'
        'rules = [{ name = "r", action = "deny", headers = { name = "x-user", exact = "root" } }]'
    )
    assert read.services[0].rules[0].headers == (HeaderMatch("x-user", exact="root"),)


def test_what_is_left_out_is_any_and_an_empty_list_is_not() -> None:
    assert Rule("r", "deny").paths is None
    assert Rule("r", "deny", paths=[]).paths == ()  # type: ignore[arg-type]
    assert Rule("r", "deny", sources=iter([])).sources == ()  # type: ignore[arg-type]
    read = toml.loads(
        'name = "x"\ncgroup = "/x"\n[[services]]\nname = "a"\nrules = [{ name = "r", action = "deny", from = [] }]'
    )
    assert read.services[0].rules[0].sources == ()


def test_asking_for_a_part_of_the_request_is_told_apart_from_asking_where_it_comes_from() -> None:
    assert not Rule("r", "deny", sources=("a",), port=80).asks_request  # type: ignore[arg-type]
    assert Rule("r", "deny", methods=("GET",)).asks_request
    assert Rule("r", "deny", paths=()).asks_request
    assert Route("r", hosts=("a",)).asks_request


def test_a_grpc_method_is_a_path() -> None:
    assert GrpcMatch("shop.v1.Orders", "Get").path == "/shop.v1.Orders/Get"
    assert GrpcMatch("shop.v1.Orders").path == "/shop.v1.Orders/*"


HEAD = 'name = "x"\ncgroup = "/x"\n'
ONE = HEAD + '[[services]]\nname = "a"\n[[services]]\nname = "b"\n'
RULE = ONE + '[[services.rules]]\nname = "r"\naction = "deny"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE + 'rules = 5', "$.services[1].rules: expected array, got int"),
        (ONE + 'rules = ["x"]', "$.services[1].rules[0]: expected object, got str"),
        (ONE + 'rule = []', "$.services[1].rule: there is no field 'rule' (did you mean 'rules'?)"),
        (ONE + 'rules = [{ name = "r" }]', "$.services[1].rules[0].action: it is missing"),
        (RULE + 'actoin = 5', "$.services[1].rules[0].actoin: there is no field 'actoin' (did you mean 'action'?)"),
        (RULE + 'sources = []', "$.services[1].rules[0].sources: there is no field 'sources'"),
        (RULE + 'form = []', "$.services[1].rules[0].form: there is no field 'form' (did you mean 'from'?)"),
        (RULE + 'from = "checkout"', "$.services[1].rules[0].from: expected array | null, got str"),
        (RULE + 'from = [5]', "$.services[1].rules[0].from[0]: expected object, got int"),
        (RULE + 'from = [{ adress = "x" }]', "$.services[1].rules[0].from[0].adress: there is no field 'adress' (did you"),
        (RULE + 'from = ["a", { labels = 5 }]', "$.services[1].rules[0].from[1].labels: expected object | null, got int"),
        (RULE + 'paths = "/a"', "$.services[1].rules[0].paths: expected array | null, got str"),
        (RULE + 'paths = ["/a", 5]', "$.services[1].rules[0].paths[1]: expected str, got int"),
        (RULE + 'headers = [{ nam = "x" }]', "$.services[1].rules[0].headers[0].nam: there is no field 'nam' (did"),
        (RULE + 'headers = { x = 5 }', "$.services[1].rules[0].headers[0].exact: expected str | null, got int"),
        (RULE + 'headers = 5', "$.services[1].rules[0].headers: expected array | null, got int"),
        (RULE + 'grpc = [{ method = "x" }]', "$.services[1].rules[0].grpc[0].service: it is missing"),
        (RULE + 'on_error = "open"', "$.services[1].rules[0].on_error: invalid enum value 'open' (one of: fail_closed,"),
        (RULE + 'port = "80"', "$.services[1].rules[0].port: expected int | null, got str"),
        (ONE + 'l7 = "http"', "$.services[1].l7: invalid enum value 'http' (one of: http1, http2, grpc)"),
        (ONE + 'http = { undecodabel = "pass" }', "$.services[1].http.undecodabel: there is no field 'undecodabel'"),
        (ONE + 'http = { denied_midway = "pass" }', "$.services[1].http.denied_midway: invalid enum value 'pass' (one"),
        (ONE + 'limits = [{ name = "l", rate = 5 }]', "$.services[1].limits[0].rate: expected str, got int"),
        (ONE + 'limits = [{ name = "l", rat = "5/s" }]', "$.services[1].limits[0].rat: there is no field 'rat' (did you"),
        (ONE + 'faults = [{ name = "l" }]', "$.services[1].faults[0].percentage: it is missing"),
        (ONE + 'routes = [{ name = "l", from = [] }]', "$.services[1].routes[0].from: there is no field 'from'"),
        (HEAD + '[[workloads]]\nname = "a"', "$.workloads[0].cgroup: it is missing"),
        (HEAD + '[[workloads]]\nspifee = "a"', "$.workloads[0].spifee: there is no field 'spifee' (did you"),
        (HEAD + '[[replies]]\nname = "a"\nstatus = "403"', "$.replies[0].status: expected int, got str"),
        (HEAD + '[[reply]]\nname = "a"', "$.reply: there is no field 'reply' (did you mean 'replies'?)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_with_its_path(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        toml.loads(text)
    assert str(error.value).startswith(message)
