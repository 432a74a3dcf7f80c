"""What explain says of a request, and what the kernel does with it when a client sends it through its socket.

Everything is real: a mesh whose rules change on and on, sockets that it enrolled, a server, requests of every form. What
was decided is read from the kernel's own record, and what the client is told from its socket.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from l7_site import L7Site

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.mesh import Mesh
from ebpfmesh.observe import Decision, Observer
from ebpfmesh.observe.explain import Explanation, explain, explain_recorded
from ebpfmesh.policy import Fault, Http, Log, Route, Rule, Service
from ebpfmesh.policy.check import check
from ebpfmesh.testing import NetNs, PrivateCgroup
from policy_strategies import hosts, matches, replies

pytestmark = pytest.mark.kernel(feature="sockhash")

EXAMPLES = int(os.environ.get("EBPFMESH_EXAMPLES", "40"))  # configurations, of eight requests each
NAME = "web"
_REPLY = st.sampled_from([None, None, "gone", "moved"])


class Ground:
    """A mesh that judges, who reads its record, and a server."""

    def __init__(self, site: L7Site) -> None:
        self.site = site
        self.mesh: Mesh = site.start(replies=tuple(replies), log=Log(sample=1, rate="1000000/s"))
        self.observer = Observer.of("l7", run_root=site.root, bpffs=site.bpffs)
        self.told = self.observer.stream()
        self.config = site.config()

    def apply(self, service: Service) -> None:
        """Put the service in force."""
        fields = {name: getattr(service, name) for name in ("http", "rules", "faults", "routes")}
        config = self.site.config(
            self.site.http(**fields), replies=tuple(replies), log=Log(sample=1, rate="1000000/s")
        )
        check(config)
        self.mesh.apply(config)
        self.config = config

    def send(self, data: bytes, expected: Explanation) -> tuple[Decision, int | None]:
        """What the kernel decided about it, and the status the client saw; None: it was not waited for."""
        with self.site.connect() as connection:
            cookie = struct.unpack("=Q", connection.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE
            connection.sendall(data)
            # what passes though nobody can read it is the server's to make sense of
            waits = expected.reason != "undecodable" or not expected.allowed
            status = int(connection.recv(65536).split(b" ")[1]) if waits else None
            found = self.told.read(5)
            assert found is not None and found.cookie == cookie
        return found, status


@pytest.fixture
def ground(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Ground]:
    with L7Site(cgroup, netns, bpffs, tmp_path) as site:
        made = Ground(site)
        with made.observer, made.told:
            yield made


@st.composite
def services(draw: st.DrawFn) -> Service:
    """Rules about hosts, paths and headers; nothing that is drawn by chance or remembered."""
    rules = []
    for number in range(draw(st.integers(0, 5))):
        action = draw(st.sampled_from(["deny", "deny", "allow", "audit"]))
        asked = draw(matches("http1", sourced=False))
        if draw(st.integers(0, 2)) == 0:
            asked["hosts"] = tuple(draw(st.lists(hosts, min_size=1, max_size=2)))
        rules.append(
            Rule(
                name=f"{action}-{number}",
                action=action,
                on_error=draw(st.sampled_from(["fail_closed", "fail_closed", "fail_open"])),
                reply=draw(_REPLY) if action == "deny" else None,
                **asked,
            )
        )
    faults = [Fault(name="fault", percentage=100.0, **draw(matches("http1", sourced=False)))]
    routes = [Route(name=f"route-{number}", **draw(matches("http1", sourced=False))) for number in range(2)]
    http = Http(
        path_parameters=draw(st.sampled_from(["refuse", "keep"])),
        undecodable=draw(st.sampled_from(["refuse", "refuse", "refuse", "pass"])),
        default_reply=draw(_REPLY),
        undecodable_reply=draw(_REPLY),
    )
    return Service(
        NAME,
        addresses=("10.96.0.10:80",),
        backends=("127.0.0.1:1",),
        l7="http1",
        http=http,
        rules=tuple(rules),
        faults=tuple(faults[: draw(st.integers(0, 1))]),
        routes=tuple(routes),
    )


_AUTHORITIES = [
    "shop.example",
    "a.shop.example",
    "SHOP.example.:80",
    "b.example:8080",
    "[::1]:80",
    "a",
    "x@y",
    "",
]
_PATHS = [
    "/", "/a", "/a/b", "//a", "/admin/x", "/x/../admin", "/%61", "/a;b", "/..", "/a%2Fb", "/a#b", "#b", "/?#b", "/#",
    "/a?b=/admin", "?x", "",
    "/" + "a" * 2100, "/?" + "a" * 3700, "/?" + "a" * 4100, "/a b",
]  # fmt: skip
_METHODS = ["GET", "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "CONNECT", "PROPFIND", "connect", "PRI"]


@st.composite
def targets(draw: st.DrawFn, method: str) -> str:
    """In one of the four forms (RFC 9112 section 3.2), not always that of the method."""
    authority, path = draw(st.sampled_from(_AUTHORITIES)), draw(st.sampled_from(_PATHS))
    form = draw(st.sampled_from(["origin", "origin", "absolute", "absolute", "authority", "asterisk"]))
    if method == "CONNECT" and draw(st.integers(0, 3)):
        form = "authority"
    scheme = draw(st.sampled_from(["http", "HTTPS", "ws", "x+1"]))
    return {
        "origin": path or "/",
        "absolute": f"{scheme}://{authority}{path}",
        "authority": authority if ":" in authority else f"{authority}:80",
        "asterisk": "*",
    }[form]


_ONE = st.one_of(
    st.sampled_from(_AUTHORITIES).map(lambda host: ("Host", host)),
    st.sampled_from(_AUTHORITIES[:5]).map(lambda host: ("host", host)),
    st.sampled_from(["upgrade", "Upgrade", "keep-alive, UPGRADE", "close", "upgradex", "keep-alive"]).map(
        lambda option: ("Connection", option)
    ),
    st.sampled_from(
        ["h2c", "H2C", "websocket", "WebSocket", "websocket, h2c", "websocketx", "", "TLS/1.0"]
    ).map(lambda protocol: ("Upgrade", protocol)),
    st.tuples(
        st.sampled_from(["x-user", "X-Tenant", "x-0", "user-agent"]), st.sampled_from(["a", "ab", "b", ""])
    ),
    st.sampled_from(
        [
            ("Transfer-Encoding", "gzip"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked, chunked"),
            ("Expect", "100-continue"),
        ]
    ),
)
_OTHERS = st.sampled_from(["h2c", "websocket", "WEBSOCKET", "websocket, h2c", "h2c, websocket"])
_UPGRADES = st.tuples(
    st.sampled_from([("Connection", "upgrade"), ("connection", "close, Upgrade")]),
    _OTHERS.map(lambda one: ("Upgrade", one)),
).map(list)


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, str, list[tuple[str, str]]]:
    """Method, target and headers."""
    method = draw(st.sampled_from(_METHODS))
    headers = draw(st.lists(_ONE, max_size=4))
    if draw(st.integers(0, 2)) == 0:
        headers = draw(st.permutations([*headers, *draw(_UPGRADES)]))
    return method, draw(targets(method)), headers


def agree(found: Decision, status: int | None, expected: Explanation) -> None:
    """Both say the same."""
    told = (found.allowed, found.reason, found.rule, found.route)
    assert told == (expected.allowed, expected.reason, expected.rule, expected.route), expected
    if expected.reply is not None:
        assert status == found.status == int(expected.reply.split(",")[0])
    elif status is not None:
        assert (status, found.status) == (200, None)


def test_explain_says_what_the_kernel_does(ground: Ground) -> None:
    """A mesh is slow to start, so that all that is drawn changes one."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(services(), st.lists(asked(), min_size=8, max_size=8), st.sampled_from(["1.1", "1.1", "1.0"]))
    def agreed(
        service: Service, requests: list[tuple[str, str, list[tuple[str, str]]]], version: str
    ) -> None:
        try:
            ground.apply(service)
        except (CapacityError, ConfigError):
            assume(False)
        for method, target, headers in requests:
            lines = [
                f"{method} {target} HTTP/{version}",
                *(f"{name}: {value}" for name, value in headers),
                "",
                "",
            ]
            data = "\r\n".join(lines).encode()
            [expected, *_] = explain_recorded(ground.config, NAME, data)
            if version == "1.1":
                described = explain(ground.config, NAME, method=method, target=target, headers=headers)
                assert described == expected
            agree(*ground.send(data, expected), expected)

    agreed()
