"""curl through the HTTP/1 tier and without it: the same output, the same bytes at the server, everything counted."""

from __future__ import annotations

import pytest

from ebpfmesh.policy import Rule
from peers.curl import curl
from peers.l7_server import Server, server
from peers.l7_stage import Finished, Stage

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
BODY = b"0123456789abcdef" * 5000


@pytest.fixture(scope="module")
def echo(stage: Stage) -> Server:
    running: Server = stage.enter(server())
    (stage.directory / "body").write_bytes(BODY)
    stage.start(
        stage.service("four", running.port, rules=RULES),
        stage.service("six", running.port, family=6, rules=RULES),
    )
    return running


CASES: dict[str, tuple[int, tuple[str, ...]]] = {
    "one request": (1, ("{at}/a",)),
    "several on one connection": (5, ("{at}/a", "{at}/b?x=1", "{at}/c", "{at}/d", "{at}/e")),
    "HTTP/1.0": (2, ("--http1.0", "{at}/a", "{at}/b")),
    "HTTP/1.0 that persists": (2, ("--http1.0", "-H", "Connection: keep-alive", "{at}/a", "{at}/b")),
    "Connection: close": (2, ("-H", "Connection: close", "{at}/a", "{at}/b")),
    "HEAD": (2, ("--head", "{at}/a", "{at}/b")),
    "a form": (1, ("--data", "a=1&b=2", "{at}/form")),
    "a small body": (2, ("--data-binary", "x", "{at}/a", "{at}/b")),
    "an upload with Expect": (2, ("-H", "Expect: 100-continue", "-T", "{body}", "{at}/up", "-T", "{body}", "{at}/up2")),
    "an upload without Expect": (1, ("-H", "Expect:", "-T", "{body}", "{at}/up")),
    "a chunked upload from stdin": (1, ("-T", "-", "{at}/up")),
    "a chunked upload from stdin without Expect": (1, ("-H", "Expect:", "-T", "-", "{at}/up")),
    "a chunked body": (1, ("-H", "Transfer-Encoding: chunked", "--data-binary", "@{body}", "{at}/up")),
    "OPTIONS *": (1, ("-X", "OPTIONS", "--request-target", "*", "{at}")),
    "absolute-form": (1, ("--request-target", "{at}/a", "{at}/a")),
    "a path that is not normal": (1, ("--path-as-is", "{at}/a/../b/./c//d")),
    "DELETE and an own method": (2, ("-X", "MKCOL", "{at}/a", "--next", "-X", "DELETE", "{at}/b")),
    "many headers": (1, (*(word for n in range(90) for word in ("-H", f"x-{n}: {'v' * n}")), "{at}/a")),
    "a head of 12 KiB": (1, ("-H", "x-long: " + "v" * 12000, "{at}/a")),
    "several at the same time": (
        6, ("--parallel", *(word for n in range(6) for word in ("--output", f"{{part}}{n}", f"{{at}}/{n}"))),
    ),
}  # fmt: skip


def run(stage: Stage, case: str, service: str, *, mesh: bool) -> Finished:
    """curl with the arguments of a case."""
    arguments = [
        word.replace("{at}", f"http://{stage.address(service)}")
        .replace("{body}", str(stage.directory / "body"))
        .replace("{part}", str(stage.directory / "part"))
        for word in CASES[case][1]
    ]
    finished = stage.run(curl("--include", *arguments), mesh=mesh, stdin=BODY)
    if "--parallel" not in CASES[case][1]:
        return finished
    # each in a file of its own: to one output, whichever has a piece of its answer writes it
    parts = [stage.directory / f"part{n}" for n in range(CASES[case][0])]
    out = b"".join(part.read_bytes() for part in parts)
    for part in parts:
        part.unlink()
    return finished._replace(out=out, err=b"")  # where curl has a meter of their speed


@pytest.mark.parametrize("service", ["four", "six"])
@pytest.mark.parametrize("case", CASES)
def test_curl_sees_and_sends_the_same_as_without_the_mesh(
    stage: Stage, echo: Server, case: str, service: str
) -> None:
    requests = CASES[case][0]
    plain = run(stage, case, service, mesh=False)
    sent = echo.taken()
    assert plain.code == 0, plain.err
    assert sum(len(one.requests) for one in sent) == requests
    with stage.counts(service, {"requests": requests, "allowed": requests}) as added:
        meshed = run(stage, case, service, mesh=True)
    assert meshed == plain
    received = echo.taken()
    assert added["connections"] == len(received)
    if "--parallel" not in CASES[case][1]:  # there it is chance which of the requests find a connection free
        assert len(received) == len(sent)
    assert sorted(r for one in received for r in one.requests) == sorted(
        r for one in sent for r in one.requests
    )
    if (
        "stdin" not in case and "--parallel" not in CASES[case][1]
    ):  # how much of a pipe is in each chunk is chance
        assert sorted(bytes(one.received) for one in received) == sorted(bytes(one.received) for one in sent)
