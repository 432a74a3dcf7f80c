"""Hypothesis strategies for policies, clients and requests: few names, paths and values, so that rules meet requests often.

What they make passes the check's rules of form; whether the kernel's tables can hold it is for the compiler to say.
"""

from __future__ import annotations

from typing import Any

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
from ebpfmesh.policy.reference import HOST, METHOD, PATH, UPGRADE, Client, Request

SERVICE = "orders"
ADDRESSES = ("10.96.0.10:80", "10.96.0.10:8080", "[fd00::10]:80")
PORTS = (80, 8080)

workloads = st.lists(
    st.builds(
        lambda name, spiffe, labels: Workload(name, f"/mesh/{name.replace('.', '/')}", spiffe, labels),
        st.sampled_from(["a", "a.deep", "a.deep.er", "b", "c"]),
        st.sampled_from(
            [None, "spiffe://example.org/ns/x/a", "spiffe://example.org/ns/y/b", "spiffe://other.org/ns/x/a"]
        ),
        st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["pay", "shop"]), max_size=2),
    ),
    max_size=4,
    unique_by=lambda one: one.name,
)
cgroups = st.sampled_from(
    [
        "/",
        "/other",
        "/mesh",
        "/mesh/a",
        "/mesh/a/deep",
        "/mesh/a/deep/er",
        "/mesh/a/x",
        "/mesh/b",
        "/mesh/bb",
        "/mesh/c/1",
    ]
)
sources = st.one_of(
    st.sampled_from(["a", "a.deep", "b"]).map(lambda name: Source(workload=name)),
    st.sampled_from(
        ["spiffe://example.org/ns/x/a", "spiffe://example.org/*", "spiffe://example.org/ns/y/*"]
    ).map(lambda text: Source(spiffe=text)),
    st.sampled_from([{"team": "pay"}, {"team": "pay", "tier": "shop"}]).map(
        lambda labels: Source(labels=labels)
    ),
    st.sampled_from(["/mesh", "/mesh/a", "/mesh/a/deep", "/mesh/b/sub"]).map(
        lambda path: Source(cgroup=path)
    ),
    st.sampled_from(
        [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3",
            "fd00::/8",
            "fd00::1",
            "::/0",
            "0.0.0.0/0",
            "::ffff:10.1.0.0/112",
        ]
    ).map(lambda text: Source(address=text)),
    st.builds(
        Source,
        workload=st.sampled_from([None, "a", "b"]),
        labels=st.sampled_from([None, {"team": "shop"}]),
        cgroup=st.sampled_from([None, "/mesh/a"]),
        address=st.sampled_from(["10.0.0.0/8", "fd00::/8"]),
    ),
)

_segments = st.sampled_from(["a", "b", "*", "*", "admin", "%61", "x%20y"])
patterns = st.one_of(
    st.sampled_from(
        [
            "/",
            "/**",
            "/a",
            "/a/",
            "/a/**",
            "/*",
            "/*/",
            "/*/b",
            "/a/*/b",
            "/admin/**",
            "/a/*",
            "/*/**",
            "/*/*/**",
        ]
    ),
    st.builds(
        lambda segments, end: "/" + "/".join(segments) + end,
        st.lists(_segments, min_size=1, max_size=5),
        st.sampled_from(["", "", "/", "/**"]),
    ),
    st.builds(
        lambda count, end: "/a" * count + end,
        st.integers(13, 14),
        st.sampled_from(["", "/", "/**", "/*/a", "/*/**", "/*/", "/b/**"]),
    ),
)
methods = st.sampled_from(
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "CONNECT",
        "TRACE",
        "PROPFIND",
        "get",
        "M-SEARCH",
    ]
)
hosts = st.sampled_from(
    [
        "shop.example",
        "*.shop.example",
        "*.example",
        "SHOP.example.",
        "a.shop.example",
        "shop.example:8080",
        "*.shop.example:80",
        "[::1]",
        "[::1]:80",
        "b.example",
    ]
)
HEADERS = ("x-user", "x-tenant", "user-agent", "content-type", "authorization", "host", "x-0", "x-1")
_values = st.sampled_from(["", "a", "ab", "b", "Root", "shop.example"])


@st.composite
def header_matches(draw: st.DrawFn) -> HeaderMatch:
    """A header, or its absence."""
    name = draw(st.sampled_from(HEADERS))
    kind = draw(st.sampled_from(["exact", "prefix", "present", "absent", "name"]))
    if name == "authorization" and kind in ("exact", "prefix"):
        kind = "present"
    fields: dict[str, Any] = {
        "exact": {"exact": draw(_values)},
        "prefix": {"prefix": draw(_values)},
        "present": {"present": True},
        "absent": {"present": False},
        "name": {},
    }[kind]
    return HeaderMatch(name if draw(st.booleans()) else name.title(), **fields)


def _tuple(strategy: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.lists(strategy, min_size=1, max_size=most).map(tuple))


@st.composite
def matches(draw: st.DrawFn, l7: str | None, *, sourced: bool = True) -> dict[str, Any]:
    """What a rule asks: most ask for little, so that some match."""
    found: dict[str, Any] = {}
    if sourced and draw(st.integers(0, 2)) == 0:
        found["sources"] = draw(_tuple(sources, 3))
    if l7 is None:
        found.pop("sources", None)
        if sourced and draw(st.booleans()):
            found["sources"] = draw(_tuple(sources.filter(lambda one: one.address is None), 3))
        return found
    if l7 != "http1" and draw(st.integers(0, 4)) == 0:
        calls = st.builds(GrpcMatch, st.sampled_from(["pkg.A", "B"]), st.sampled_from([None, "Get", "Put"]))
        found["grpc"] = draw(_tuple(calls, 2))
    else:
        if draw(st.integers(0, 3)) == 0:
            found["methods"] = draw(_tuple(methods, 3))
        if draw(st.integers(0, 2)):
            found["paths"] = draw(_tuple(patterns, 3))
    if draw(st.integers(0, 4)) == 0:
        found["hosts"] = draw(_tuple(hosts, 3))
    if draw(st.integers(0, 3)) == 0:
        found["headers"] = draw(_tuple(header_matches(), 2))
    return found


replies = [Reply("gone", 410, "gone\n"), Reply("moved", 302, location="https://shop.example/")]
_reply = st.sampled_from([None, None, "gone", "moved"])


@st.composite
def services(draw: st.DrawFn, *, l7: bool = True) -> Service:
    """A service with rules, and where it has ``l7`` limits, faults and routes."""
    protocol = draw(st.sampled_from(["http1", "http2", "grpc"])) if l7 else None
    rules = []
    for number in range(draw(st.integers(0, 7))):
        action = draw(st.sampled_from(["deny", "deny", "allow", "allow", "audit"]))
        rules.append(
            Rule(
                name=f"{action}-{number}",
                action=action,
                port=draw(st.sampled_from([None, None, None, None, 80, 8080])),
                on_error=draw(st.sampled_from(["fail_closed", "fail_open"])),
                reply=draw(_reply) if action == "deny" and protocol else None,
                **draw(matches(protocol)),
            )
        )
    if protocol is None:
        return Service(SERVICE, addresses=ADDRESSES, backends=("10.0.0.1:80",), rules=tuple(rules))
    keys = st.sampled_from(["service", "client-address", "identity", "header:x-user", "header:authorization"])
    limits = [
        Limit(
            name=f"limit-{number}", rate="10/s", key=draw(keys), reply=draw(_reply), **draw(matches(protocol))
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    faults = [
        Fault(
            name=f"fault-{number}",
            percentage=draw(st.sampled_from([1.0, 50.0, 100.0])),
            status=draw(st.sampled_from([None, 500])),
            **draw(matches(protocol)),
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    routes = [
        Route(name=f"route-{number}", **draw(matches(protocol, sourced=False)))
        for number in range(draw(st.integers(0, 3)))
    ]
    http = Http(
        path_parameters=draw(st.sampled_from(["refuse", "keep"])),
        default_reply=draw(_reply),
        bad_path_reply=draw(_reply),
        undecodable=draw(st.sampled_from(["refuse", "refuse", "refuse", "pass"])),
        undecodable_reply=draw(_reply),
    )
    return Service(
        SERVICE,
        addresses=ADDRESSES,
        backends=("10.0.0.1:80", "[fd01::1]:80"),
        l7=protocol,
        http=http,
        rules=tuple(rules),
        limits=tuple(limits),
        faults=tuple(faults),
        routes=tuple(routes),
    )


@st.composite
def configs(draw: st.DrawFn, service: st.SearchStrategy[Service] | None = None) -> Config:
    """A mesh of one service, with workloads and replies."""
    return Config(
        "mesh",
        "/mesh",
        services=(draw(services() if service is None else service),),
        workloads=tuple(draw(workloads)),
        replies=tuple(replies),
    )


# --- clients and requests -------------------------------------------------------------------------------------------------

clients = st.builds(
    Client,
    cgroup=cgroups,
    address=st.sampled_from(
        ["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "fd00::1", "fd00::2", "2001:db8::1"]
    ),
    port=st.sampled_from(PORTS),
)

_sent = st.sampled_from(
    ["", "a", "b", "a", "b", "c", "admin", "Admin", "adminx", "x y", "%61", ".", "..", "%2e%2e", "a;b"]
)
_odd_paths = st.sampled_from(
    [
        None,
        b"*",
        b"/%",
        b"/a%2Fb",
        b"/a\\b",
        b"/..",
        b"/%00",
        b"",
        b"a",
        b"/" + b"a" * 2047,
        b"/" + b"a" * 2048,
    ]
)
_any_paths = st.one_of(
    st.lists(_sent, max_size=6).map(lambda segments: ("/" + "/".join(segments)).encode()),
    st.builds(
        lambda count, end: b"/a" * count + end, st.integers(12, 18), st.sampled_from([b"", b"/", b"/b"])
    ),
)


def _filled(patterns: list[str]) -> st.SearchStrategy[bytes]:
    """Paths that a pattern means, or nearly."""
    ends = st.sampled_from(["", "", "", "/", "/a", "/a/b", "//", "/.", "/..", "/../b"])
    fill = st.lists(st.sampled_from(["a", "b", "c", "admin", ""]), min_size=16, max_size=16)

    def path(pattern: str, filling: list[str], end: str, changed: int) -> bytes:
        segments = pattern.removesuffix("/**").split("/")
        if changed < len(segments) and changed:
            segments[changed] = filling[15]
        found = "/".join(filling[at % 15] if one == "*" else one for at, one in enumerate(segments)) + end
        return (found or "/").encode()

    return st.builds(path, st.sampled_from(patterns), fill, ends, st.one_of(st.just(0), st.integers(0, 16)))


def paths_for(service: Service) -> st.SearchStrategy[bytes | None]:
    """Paths that the service's rules are about, and some others."""
    every = [*service.rules, *service.limits, *service.faults, *service.routes]
    patterns = [path for one in every for path in one.paths or ()]
    patterns += [call.path for one in every for call in one.grpc or ()]
    usual = [_filled(patterns)] * 5 if patterns else [_any_paths]
    return st.one_of(*usual, _any_paths, _any_paths, _odd_paths)


sent_hosts = st.sampled_from(
    [
        None,
        b"shop.example",
        b"SHOP.EXAMPLE:80",
        b"shop.example.",
        b"shop.example.:8080",
        b"a.shop.example",
        b"a.b.shop.example:8080",
        b".shop.example",
        b"x.example",
        b"example",
        b"[::1]",
        b"[::1]:80",
        b"shop.example:",
        b"myshop.example",
        b"a.shop.example:80",
        b"b.example:0" + b"0" * 40 + b"1",
    ]
)
sent_headers = st.dictionaries(
    st.sampled_from([name for name in HEADERS if name != "host"]),
    st.sampled_from([b"", b"a", b"ab", b"abc", b"b", b"root", b"Root", b"A" * 200]),
    max_size=4,
)
_uncertain = st.lists(st.sampled_from((*HEADERS, UPGRADE)), max_size=2)
sent_upgrades = st.sampled_from(
    [
        b"websocket",
        b"websocket",
        b"WebSocket",
        b"h2c",
        b"websocket, h2c",
        b"websocketx",
        b"websocke",
        b"",
        None,
    ]
)


@st.composite
def requests(draw: st.DrawFn, service: Service) -> Request:
    """A request as a parser may tell it; a few have fields that came twice, or were cut."""
    truncated = draw(st.one_of(st.just([]), st.just([]), _uncertain))
    method = draw(methods)
    if draw(st.integers(0, 60)) == 0:
        truncated = [*truncated, PATH]
    if draw(st.integers(0, 60)) == 0:
        method, truncated = "A" * 300, [*truncated, METHOD]
    headers, scheme, upgrades = dict(draw(sent_headers)), None, False
    if service.l7 == "http1":
        scheme = draw(st.sampled_from([None, None, None, b"http", b"HTTPS", b"x"]))
        upgrades = draw(st.integers(0, 3)) == 0
        if (upgrade := draw(sent_upgrades)) is not None and (upgrades or draw(st.booleans())):
            headers[UPGRADE] = upgrade
    elif service.l7 is not None:
        scheme = b"http"  # every request of HTTP/2 has one
    return Request(
        method.encode(),
        draw(paths_for(service)),
        draw(sent_hosts),
        headers,
        frozenset(draw(st.one_of(st.just([]), st.just([]), _uncertain))),
        frozenset(truncated),
        scheme,
        upgrades,
    )


__all__ = [
    "ADDRESSES",
    "HEADERS",
    "HOST",
    "PORTS",
    "SERVICE",
    "clients",
    "configs",
    "requests",
    "services",
    "workloads",
]
