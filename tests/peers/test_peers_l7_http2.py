"""HTTP/2 through the tier and without it: httpx as the client, Envoy as the server, as the client, and as both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from ebpfmesh.policy import Http, Rule
from peers import l7_clients
from peers.envoy import Envoy, envoy
from peers.l7_clients import TARGETS
from peers.l7_stage import Stage
from peers.servers import H11Server, h11_server, program

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
REFUSED = "403 0 b''"
NO_ANSWER = "0 0 b''"
HTTPX = [sys.executable, str(Path(l7_clients.__file__)), "httpx"]


@pytest.fixture(scope="module")
def server(stage: Stage) -> H11Server:
    """What is behind every Envoy."""
    running: H11Server = stage.enter(h11_server())
    return running


@pytest.fixture(scope="module")
def front(stage: Stage, server: H11Server) -> Envoy:
    """An Envoy that is the server of the services, and takes HTTP/2."""
    running: Envoy = stage.enter(envoy(stage.directory / "front", server.port, host="0.0.0.0"))
    stage.start(
        stage.service("web", running.port, l7="http2", rules=RULES),
        stage.service("traced", running.port, l7="http2", rules=RULES, http=Http(trace=True)),
    )
    return running


@pytest.fixture(scope="module", params=["web", "traced"])
def service(request: pytest.FixtureRequest, front: Envoy) -> str:
    name: str = request.param
    return name


def asked_of(server: H11Server) -> list[tuple[bytes, bytes, bytes]]:
    """What came to the server since it was asked last, in no particular order."""
    asked = sorted((one.method, one.target, one.body) for one in server.served)
    server.served.clear()
    return asked


def allowed(asked: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    return [one for one in asked if not one[1].startswith(b"/admin")]


def expected(lines: list[str]) -> list[str]:
    """What is printed through the mesh, by what is printed without it: a refusal has no body."""
    return [
        REFUSED if TARGETS[n % len(TARGETS)].startswith("/admin") else line for n, line in enumerate(lines)
    ]


@contextmanager
def judging(stage: Stage, service: str, requests: int, denied: int) -> Iterator[None]:
    """The tier judges so many requests in the block, answers so many, and has no trouble.

    How many answers had to wait for a boundary of frames, and how much of a refused body came, is the clients' timing.
    """
    before = stage.counters(service)
    yield
    now = stage.counters(service)
    added = {name: now.get(name, 0) - before.get(name, 0) for name in now}
    assert added["requests"] == requests
    assert added["denied"] == added["replied"] + added.get("outstanding_replied", 0) == denied
    for trouble in (
        "out_of_step",
        "responses_lost",
        "reply_failed",
        "undecodable_refused",
        "unjudged_packets",
    ):
        assert added.get(trouble, 0) == 0, (trouble, added)


def test_httpx(stage: Stage, server: H11Server, service: str) -> None:
    """27 requests at a time, uploads among them: only what is denied differs, and nothing of that arrives."""
    command = [*HTTPX, f"http://{stage.address(service)}", "--http2"]
    asked_of(server)
    plain = stage.run(command, mesh=False)
    assert plain.code == 0, plain.err.decode()
    asked = asked_of(server)
    with judging(stage, service, 3 * len(TARGETS), 6):
        meshed = stage.run(command, mesh=True)
        assert meshed.code == 0, meshed.err.decode()
    assert meshed.out.decode().splitlines() == expected(plain.out.decode().splitlines())
    assert asked_of(server) == allowed(asked)


@contextmanager
def relaying(stage: Stage, service: str, here: Path, *, mesh: bool) -> Iterator[Envoy]:
    """An Envoy that is a client of the service, by HTTP/2, in the mesh or not."""
    with ExitStack() as ends:
        with stage.cgroup.enter() if mesh else nullcontext():
            running = stage.netns.call(
                lambda: ends.enter_context(envoy(here, stage.endpoint(service), http2=True))
            )
        yield running


@pytest.mark.parametrize("by", ["http1", "http2"])
def test_envoy_as_the_client(stage: Stage, server: H11Server, service: str, by: str, tmp_path: Path) -> None:
    """Requests of several clients, on the streams of Envoy's connections to an Envoy."""
    options = ["--http2"] if by == "http2" else []
    asked_of(server)
    with relaying(stage, service, tmp_path / "plain", mesh=False) as relay:
        plain = stage.run([*HTTPX, f"http://127.0.0.1:{relay.port}", *options], mesh=False)
        assert plain.code == 0, plain.err.decode()
    asked = asked_of(server)
    times = len(asked) // len(TARGETS)
    with (
        judging(stage, service, len(asked), 2 * times),
        relaying(stage, service, tmp_path / "meshed", mesh=True) as relay,
    ):
        meshed = stage.run([*HTTPX, f"http://127.0.0.1:{relay.port}", *options], mesh=False)
        assert meshed.code == 0, meshed.err.decode()
    printed = meshed.out.decode().splitlines()
    if (
        by == "http2"
    ):  # Envoy passes the refusal on by END_STREAM and RST_STREAM, on which httpx may still send a body
        printed = [line.replace(NO_ANSWER, REFUSED) for line in printed]
    assert printed == expected(plain.out.decode().splitlines())
    assert asked_of(server) == allowed(asked)


def test_h2load_by_way_of_envoy(stage: Stage, server: H11Server, service: str, tmp_path: Path) -> None:
    """Many streams for a while: neighbours of what is denied do not suffer."""
    h2load = program("h2load", "nghttp2-client")
    with (
        judging(stage, service, 2000, 1000),
        relaying(stage, service, tmp_path, mesh=True) as relay,
    ):
        at = f"http://127.0.0.1:{relay.port}"
        loaded = stage.run(
            [h2load, "-n", "2000", "-c", "4", "-m", "16", f"{at}/a", f"{at}/admin/x"], mesh=False
        )
    assert b"status codes: 1000 2xx, 0 3xx, 1000 4xx, 0 5xx" in loaded.out, loaded.out.decode()
    assert len(asked_of(server)) == 1000
