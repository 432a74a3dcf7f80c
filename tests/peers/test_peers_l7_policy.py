"""What a policy asks for, as real clients and servers see it: replies, limits, faults, headers, traces, denied uploads."""

from __future__ import annotations

import re
import sys

import pytest

from ebpfmesh.policy import Fault, Http, Limit, Reply, Rule
from peers.curl import curl
from peers.l7_client import Client, request
from peers.l7_server import Server, server
from peers.l7_stage import Stage
from peers.servers import program

pytestmark = pytest.mark.kernel("sockhash")

REPLIES = (
    Reply("moved", status=302, location="http://elsewhere.example/new", headers={"x-why": "moved"}),
    Reply("gone", status=410, body="it was here\n", content_type="text/x-gone"),
    Reply("nothing", status=204),
)
RULES = (
    Rule("no-admin", action="deny", paths=("/admin/**",)),
    Rule("moved-away", action="deny", paths=("/old/**",), reply="moved"),
    Rule("gone-for-good", action="deny", paths=("/gone",), reply="gone"),
    Rule("empty", action="deny", paths=("/empty",), reply="nothing"),
)
SIZE = 1_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_TRACE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")


@pytest.fixture(scope="module")
def behind(stage: Stage) -> Server:
    running: Server = stage.enter(server())
    port = running.port
    stage.start(
        stage.service("rules", port, rules=RULES),
        stage.service("six", port, rules=RULES, family=6),
        stage.service("limits", port, limits=(Limit("slow", rate="1/s", burst=1, paths=("/slow",)),)),
        stage.service(
            "faults", port, faults=(Fault("broken", percentage=100, status=503, paths=("/f/**",)),)
        ),
        stage.service(
            "traced", port, rules=RULES, http=Http(trace=True, set_headers={"X-Mesh": "shop", "x-b": "2"})
        ),
        stage.service("unsampled", port, http=Http(trace=True, sample=0.0)),
        stage.service(
            "allowing", port, rules=(Rule("shop", action="allow", methods=("GET",), paths=("/shop/**",)),)
        ),
        replies=REPLIES,
    )
    (stage.directory / "body").write_bytes(b"x" * SIZE)
    return running


@pytest.fixture
def web(behind: Server) -> Server:
    """The server behind them all, which has forgotten the tests before."""
    behind.accepted.clear()
    return behind


@pytest.mark.parametrize("service", ["rules", "six"])
def test_curl_is_denied_and_uses_its_connection_again(stage: Stage, web: Server, service: str) -> None:
    form = "%{http_code} %{local_port} %{num_connects} %{size_download}\\n"
    paths = ["/a", "/admin/x", "/b", "/admin", "/c"]
    urls = [word for path in paths for word in ("-o", "/dev/null", f"http://{stage.address(service)}{path}")]
    with stage.counts(
        service, {"requests": 5, "allowed": 3, "denied": 2, "replied": 2, "connections": 1}
        | {"swallowed": sum(len(curls_head(stage, service, path)) for path in ("/admin/x", "/admin"))},
    ):  # fmt: skip
        finished = stage.run(curl("-w", form, *urls), mesh=True)
    assert finished.code == 0, finished.err
    lines = [line.split() for line in finished.out.decode().splitlines()]
    assert [line[0] for line in lines] == ["200", "403", "200", "403", "200"]
    assert len({line[1] for line in lines}) == 1  # one local port, so one connection
    assert [line[2] for line in lines] == ["1", "0", "0", "0", "0"]
    [one] = web.taken()
    assert [r.target for r in one.requests] == ["/a", "/b", "/c"]


def curls_head(stage: Stage, service: str, path: str) -> bytes:
    """The request that curl sends for a path."""
    version = stage.run([program("curl", "curl"), "--version"], mesh=False).out.decode().split()[1]
    host = stage.address(service)
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/{version}\r\nAccept: */*\r\n\r\n".encode()
    )


def test_replies_are_what_the_policy_says(stage: Stage, web: Server) -> None:
    with stage.connect("rules") as connection:
        client = Client(connection)
        moved, gone, empty = client.ask("/old/page"), client.ask("/gone"), client.ask("/empty")
        head = client.ask("/gone", method="HEAD")
        assert client.ask("/still").body == b"GET /still "
    assert (moved.status, moved.values("location"), moved.values("x-why")) == (
        302, ["http://elsewhere.example/new"], ["moved"],
    )  # fmt: skip
    assert (gone.status, gone.body, gone.values("content-type")) == (410, b"it was here\n", ["text/x-gone"])
    assert (empty.status, empty.body, empty.values("content-length")) == (204, b"", [])
    assert (head.head, head.body) == (gone.head, b"")
    [one] = web.taken()
    assert [r.target for r in one.requests] == ["/still"]


def test_curl_follows_the_redirection_of_a_reply(stage: Stage, web: Server) -> None:
    finished = stage.run(
        curl(
            "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{stage.address('rules')}/old/x"
        ),
        mesh=True,
    )
    assert finished.out == b"302 http://elsewhere.example/new"
    [one] = web.taken()
    assert one.received == b""


def test_curl_tries_again_when_a_limit_says(stage: Stage, web: Server) -> None:
    url = f"http://{stage.address('limits')}/slow"
    swallowed = len(curls_head(stage, "limits", "/slow"))
    with stage.counts(
        "limits", {"requests": 3, "allowed": 2, "limited": 1, "replied": 1, "swallowed": swallowed}
    ):
        first = stage.run(curl(url), mesh=True)
        second = stage.run(curl("--retry", "3", "-w", "%{http_code} %{time_total}", "-i", url), mesh=True)
    assert first.out == b"GET /slow "
    assert second.code == 0
    assert b"429 Too Many Requests" in second.out
    assert re.search(rb"(?i)\r\nretry-after: +1\r\n", second.out)
    assert b"\r\n\r\nGET /slow 200 " in second.out
    assert sum(len(one.requests) for one in web.taken()) == 2


def test_a_fault_answers_every_request_that_it_is_for(stage: Stage, web: Server) -> None:
    sent = request("/f/1")
    with (
        stage.counts(
            "faults",
            {"requests": 21, "allowed": 1, "faulted": 20, "replied": 20, "swallowed": 20 * len(sent)},
        ),
        stage.connect("faults") as connection,
    ):
        client = Client(connection)
        assert [client.ask("/f/1").status for _ in range(20)] == [503] * 20
        assert client.ask("/ok").status == 200
    [one] = web.taken()
    assert [r.target for r in one.requests] == ["/ok"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_headers_are_set_once_and_a_trace_begins(stage: Stage, web: Server, method: str) -> None:
    body = b"" if method == "GET" else b"b" * 7000
    with (
        stage.counts(
            "traced", {"requests": 3, "allowed": 3, "traced": 3, "trace_continued": 0, "not_traced": 0}
        ),
        stage.connect("traced") as connection,
    ):
        client = Client(connection)
        for _ in range(3):
            answer = client.ask("/t", "X-First: 1", method=method, body=body)
            assert answer.body == f"{method} /t ".encode() + body
    [one] = web.taken()
    traces = []
    for each in one.requests:
        assert each.body == body
        assert [each.values(name) for name in ("host", "x-first", "x-mesh", "x-b")] == [
            ["web"],
            ["1"],
            ["shop"],
            ["2"],
        ]
        [trace] = each.values("traceparent")
        assert _TRACE.fullmatch(trace)
        assert trace.endswith("-01")
        traces.append(trace)
    assert len({trace.split("-")[1] for trace in traces}) == 3


def test_a_trace_that_came_goes_on_with_another_span(stage: Stage, web: Server) -> None:
    with (
        stage.counts("traced", {"requests": 4, "allowed": 4, "trace_continued": 4, "traced": 0}),
        stage.connect("traced") as connection,
    ):
        client = Client(connection)
        for flags in ("01", "00"):
            for name in ("traceparent", "TraceParent"):
                client.ask("/t", f"{name}: {TRACE[:-2]}{flags}", "tracestate: a=b", "X-Last: 1")
    [one] = web.taken()
    spans = set()
    for each, flags in zip(one.requests, ("01", "01", "00", "00"), strict=True):
        [trace] = each.values("traceparent")
        version, number, span, kept = trace.split("-")
        assert (version, number, kept) == ("00", TRACE.split("-")[1], flags)
        spans.add(span)
        assert (each.values("tracestate"), each.values("x-last"), each.values("x-mesh")) == (
            ["a=b"],
            ["1"],
            ["shop"],
        )
    assert len(spans) == 4
    assert TRACE.split("-")[2] not in spans


def test_traces_that_begin_unsampled_say_so_and_others_keep_their_flag(stage: Stage, web: Server) -> None:
    with stage.connect("unsampled") as connection:
        client = Client(connection)
        client.ask("/a")
        client.ask("/a", f"traceparent: {TRACE}")
    [one] = web.taken()
    assert [each.values("traceparent")[0][-3:] for each in one.requests] == ["-00", "-01"]


@pytest.mark.parametrize(
    "value", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", TRACE.upper(), "ff" + TRACE[2:]]
)
def test_a_trace_that_is_none_is_left_alone(stage: Stage, web: Server, value: str) -> None:
    with stage.counts("traced", {"requests": 1, "not_traced": 1}), stage.connect("traced") as connection:
        assert Client(connection).ask("/t", f"traceparent: {value}").status == 200
    [one] = web.taken()
    assert one.requests[0].values("traceparent") == [value]


def test_a_pipeline_is_traced_request_by_request(stage: Stage, web: Server) -> None:
    with stage.counts("traced", {"requests": 20, "traced": 20}), stage.connect("traced") as connection:
        client = Client(connection)
        client.send(b"".join(request(f"/{n}", method="POST", body=b"y" * n * 10) for n in range(20)))
        assert [client.read().status for _ in range(20)] == [200] * 20
    [one] = web.taken()
    assert [each.target for each in one.requests] == [f"/{n}" for n in range(20)]
    assert len({each.values("traceparent")[0] for each in one.requests}) == 20
    assert all(each.values("x-mesh") == ["shop"] for each in one.requests)


@pytest.mark.parametrize("length", [1, 100, 1000, 4000, 8000, 20000])
def test_a_head_of_any_length_is_traced(stage: Stage, web: Server, length: int) -> None:
    with stage.counts("traced", {"requests": 1, "traced": 1}), stage.connect("traced") as connection:
        assert Client(connection).ask("/t", f"x-long: {'v' * length}").status == 200
    [one] = web.taken()
    [each] = one.requests
    assert (each.values("x-mesh"), len(each.values("traceparent"))) == (["shop"], 1)
    assert each.values("x-long") == ["v" * length]


@pytest.mark.parametrize("service", ["rules", "six"])
@pytest.mark.parametrize("expects", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_curls_denied_upload_of_a_megabyte(
    stage: Stage, web: Server, service: str, chunked: bool, expects: bool
) -> None:
    base = f"http://{stage.address(service)}"
    form = "%{http_code} %{num_connects}\\n"
    upload = ["-H", "Expect: 100-continue" if expects else "Expect:", "-T", str(stage.directory / "body")]
    if chunked:
        upload += ["-H", "Transfer-Encoding: chunked"]
    after = ["--next", "--silent", "--noproxy", "*", "-o", "/dev/null", "-w", form, f"{base}/after"]
    finished = stage.run(curl("-o", "/dev/null", "-w", form, *upload, f"{base}/admin/up", *after), mesh=True)
    assert finished.code == 0, finished.err
    first, second = (line.split() for line in finished.out.decode().splitlines())
    assert (first[0], second[0]) == ("403", "200")
    assert first[1] == "1"  # curl may end an upload that is refused before its end, and connect again
    assert [r.target for one in web.taken() for r in one.requests] == ["/after"]


@pytest.mark.parametrize("piece", [1, 1000, 16384, 100_000, SIZE + 200])
@pytest.mark.parametrize("chunk", [0, 7, 5000, SIZE])
def test_a_denied_upload_in_pieces_and_the_connection_again(
    stage: Stage, web: Server, chunk: int, piece: int
) -> None:
    size = SIZE if piece > 1 and chunk != 7 else 3000
    body = b"z" * size
    if chunk:
        sent = request("/admin/up", "Transfer-Encoding: chunked", method="PUT")
        for at in range(0, size, chunk):
            part = body[at : at + chunk]
            sent += b"%x;a=b\r\n%s\r\n" % (len(part), part)
        sent += b"0\r\nx-trailer: 1\r\n\r\n"
    else:
        sent = request("/admin/up", method="PUT", body=body)
    head = sent.index(b"\r\n\r\n") + 4
    pieces = [sent[:head], *(sent[at : at + piece] for at in range(head, len(sent), piece))]
    expected = {"requests": 2, "allowed": 1, "denied": 1, "replied": 1, "swallowed": len(sent)}
    with stage.counts("rules", expected), stage.connect("rules") as connection:
        client = Client(connection)
        client.send(*pieces)
        response = client.read()
        assert (response.status, response.values("connection")) == (403, [])
        assert client.ask("/after", method="POST", body=b"b").body == b"POST /after b"
    [one] = web.taken()
    assert one.received == request("/after", method="POST", body=b"b")


def test_a_denied_upload_and_the_next_request_in_one_send(stage: Stage, web: Server) -> None:
    for size in (0, 1, 100, 4000, 5000, 100_000):
        denied = request("/admin/up", method="PUT", body=b"z" * size)
        with stage.connect("rules") as connection:
            client = Client(connection)
            client.send(denied + denied + request("/after") + request("/last"))
            assert [client.read().status for _ in range(4)] == [403, 403, 200, 200], size
        [one] = web.taken()
        assert one.received == request("/after") + request("/last"), size


def test_only_what_a_rule_allows_passes(stage: Stage, web: Server) -> None:
    with stage.connect("allowing") as connection:
        client = Client(connection)
        statuses = [
            client.ask(path, method=method).status
            for method, path in (
                ("GET", "/shop"), ("GET", "/shop/a"), ("POST", "/shop/a"), ("GET", "/shopping"), ("get", "/shop"),
                ("GET", "/"), ("OPTIONS", "*"), ("GET", "http://web/shop/b"),
            )
        ]  # fmt: skip
    assert statuses == [200, 200, 403, 403, 403, 403, 403, 200]
    [one] = web.taken()
    assert [r.target for r in one.requests] == ["/shop", "/shop/a", "http://web/shop/b"]


SCRIPT = """
import sys, http.client, urllib.request
host, port = sys.argv[1], int(sys.argv[2])
connection = http.client.HTTPConnection(host, port, timeout=10)
ports = set()
for path in ("/a", "/admin/x", "/b", "/gone", "/c"):
    connection.request("POST", path, body=b"d" * 50000)
    response = connection.getresponse()
    print(response.status, len(response.read()))
    ports.add(connection.sock.getsockname()[1])
print(len(ports))
"""


def test_http_client_is_denied_and_uses_its_connection_again(stage: Stage, web: Server) -> None:
    host, port = stage.endpoint("rules")
    finished = stage.run([sys.executable, "-c", SCRIPT, host, str(port)], mesh=True)
    assert finished.out.decode().splitlines() == [
        "200 50008",
        "403 10",
        "200 50008",
        "410 12",
        "200 50008",
        "1",
    ]
    [one] = web.taken()
    assert [r.target for r in one.requests] == ["/a", "/b", "/c"]
