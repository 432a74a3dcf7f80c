"""Real servers behind the HTTP/1 tier: what curl receives is what it receives without it, but for what is denied."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpfmesh.policy import Http, Rule
from peers.curl import curl as curl_command
from peers.envoy import Envoy, envoy
from peers.l7_client import Client, request
from peers.l7_stage import Finished, Stage
from peers.servers import free_port, process, program

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
SIZES = (0, 1, 100, 4095, 4096, 65_536, 1 << 20, 8 << 20)
_NGINX = """
{user}
daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000; default_type text/plain; client_max_body_size 16m;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    server {{
        listen 0.0.0.0:{port}; listen [::]:{port}; root {here}/files;
        location /gzip/ {{ alias {here}/files/; gzip on; gzip_min_length 1; gzip_types text/plain; }}
        location /chunked/ {{ alias {here}/files/; sub_filter_types *; sub_filter "\\1" "\\1"; }}
        location /slow/ {{ alias {here}/files/; limit_rate 4m; }}
        location /moved {{ return 301 /100; }}
        location /gone {{ return 444; }}
        location /up {{ client_max_body_size 1k; dav_methods PUT; root {here}/put; }}
        location /proxied/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_http_version 1.1; }}
        location /unbuffered/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_buffering off; }}
    }}
}}
"""
_WSGI = """
def app(environ, start_response):
    length = environ.get("CONTENT_LENGTH")
    body = environ["wsgi.input"].read(int(length)) if length else b""
    if environ.get("HTTP_TRANSFER_ENCODING") == "chunked":
        body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    text = [f"{environ['REQUEST_METHOD']} {path} {len(body)} ".encode(), body[:100]]
    if path.startswith("/sized"):
        text = [b"x" * int(path.rpartition("/")[2])]
        start_response("200 OK", [("Content-Length", str(len(text[0])))])
    elif path == "/empty":
        start_response("204 No Content", [])
        return []
    else:
        start_response("200 OK", [("Content-Type", "text/plain")])
    return text
"""
_ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size = 0
    while True:
        event = await receive()
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            break
    path = scope["path"]
    await send({"type": "http.response.start", "status": 204 if path == "/empty" else 200, "headers": []})
    parts = [] if path == "/empty" else [f"{scope['method']} {path} {size} ".encode()]
    if path.startswith("/sized"):
        parts = [b"x" * 1000] * (int(path.rpartition("/")[2]) // 1000)
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""


@contextmanager
def nginx(here: Path) -> Iterator[int]:
    """nginx with files of every size, each named by it."""
    (here / "files").mkdir(parents=True)
    for size in SIZES:
        (here / "files" / str(size)).write_bytes((b"0123456789abcde\n" * (size // 16 + 1))[:size])
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (here / "nginx.conf").write_text(_NGINX.format(here=here, port=port, user=user))
    command = [program("nginx", "nginx-light"), "-c", str(here / "nginx.conf"), "-e", str(here / "error.log")]
    with process([*command, "-p", str(here)], port, here / "nginx.out"):
        yield port


@contextmanager
def python_server(here: Path, name: str) -> Iterator[int]:
    """gunicorn, waitress or uvicorn with an application of ours."""
    here.mkdir(parents=True, exist_ok=True)
    (here / "wsgi.py").write_text(_WSGI)
    (here / "asgi.py").write_text(_ASGI)
    port = free_port()
    options = {
        "gunicorn": ["-m", "gunicorn", "--chdir", str(here), "-b", f"0.0.0.0:{port}", "-k", "gthread", "--threads", "4",
                     "--keep-alive", "30", "wsgi:app"],
        "waitress": ["-c", f"import sys; sys.path.insert(0, {str(here)!r}); import waitress, wsgi; "
                           f"waitress.serve(wsgi.app, host='0.0.0.0', port={port})"],
        "uvicorn": ["-m", "uvicorn", "--app-dir", str(here), "--host", "0.0.0.0", "--port", str(port), "--http", "h11",
                    "--timeout-keep-alive", "30", "asgi:app"],
    }[name]  # fmt: skip
    with process([sys.executable, *options], port, here / f"{name}.out"):
        yield port


@pytest.fixture(scope="module")
def stage(stage: Stage) -> Stage:
    """The stage, with nginx behind services."""
    port = stage.enter(nginx(stage.directory / "nginx"))
    stage.start(
        stage.service("nginx", port, rules=RULES),
        stage.service("six", port, rules=RULES, family=6),
        stage.service("traced", port, rules=RULES, http=Http(trace=True, set_headers={"x-mesh": "1"})),
    )
    return stage


@pytest.fixture(scope="module", params=["gunicorn", "waitress", "uvicorn"])
def python(request: pytest.FixtureRequest, stage: Stage) -> str:
    """A server of Python behind a service of its name."""
    name: str = request.param
    pytest.importorskip(name)
    stage.add(stage.service(name, stage.enter(python_server(stage.directory / name, name)), rules=RULES))
    return name


@pytest.fixture(scope="module")
def proxy(stage: Stage) -> Envoy:
    """Envoy before nginx, and behind a service of its name."""
    port = int(stage.address("nginx").rpartition(":")[2])
    running: Envoy = stage.enter(envoy(stage.directory / "envoy", port))
    stage.add(stage.service("envoy", running.port, rules=RULES))
    return running


@pytest.fixture(scope="module")
def redis(stage: Stage) -> int:
    """The port of a Redis, behind a service that lets everybody connect, and one that lets nobody."""
    pytest.importorskip("redis")
    port: int = stage.netns.call(free_port)
    server = program("redis-server", "redis-server")
    options = ["--port", str(port), "--save", "", "--dir", str(stage.directory), "--protected-mode", "no"]
    stage.enter(process([server, *options], port, stage.directory / "redis.log"))
    stage.add(stage.service("redis", port, l7=None, rules=(Rule("anybody", action="allow"),)))
    stage.add(stage.service("no-redis", port, l7=None, rules=(Rule("nobody", action="deny"),)))
    return port


def curl(stage: Stage, service: str, *arguments: str, mesh: bool, stdin: bytes = b"") -> Finished:
    """curl with the base URL for "@"; what differs by time is left out of what it prints."""
    base = f"http://{stage.address(service)}"
    words = [base + word[1:] if word.startswith("@/") else word for word in arguments]
    finished = stage.run(curl_command("--include", *words, seconds=30), mesh=mesh, stdin=stdin)
    return finished._replace(out=re.sub(rb"(?i)\r\ndate: [^\r]*", b"", finished.out))


FILES = [
    *([f"@/{size}"] for size in SIZES),
    [f"@/{size}" for size in SIZES],
    *(
        [f"@/{place}/{size}"]
        for place in ("gzip", "chunked", "proxied", "unbuffered")
        for size in (0, 100, 1 << 20)
    ),
    ["--compressed", "@/gzip/1048576"],
    ["--compressed", "@/proxied/gzip/1048576", "@/chunked/4096", "@/proxied/chunked/4096"],
    ["@/slow/1048576"],
    ["--head", "@/8388608", "@/0"],
    ["--range", "100-199", "@/1048576"],
    ["--range", "0-9,50-59,1048000-", "@/1048576"],
    ["--range", "9999999-", "@/1048576"],
    ["-H", "If-None-Match: *", "@/100"],
    ["--location", "@/moved"],
    ["@/missing", "@/100"],
    ["--http1.0", "@/1048576"],
    ["-H", "Connection: close", "@/8388608"],
    ["-X", "DELETE", "@/100"],
    ["-H", "Expect:", "-X", "PUT", "--data-binary", "x" * 5000, "@/up/large"],
    ["@/gone"],
]


@pytest.mark.parametrize("service", ["nginx", "six", "traced"])
@pytest.mark.parametrize("arguments", FILES, ids=" ".join)
def test_nginx_serves_the_same(stage: Stage, arguments: list[str], service: str) -> None:
    plain = curl(stage, service, *arguments, mesh=False)
    meshed = curl(stage, service, *arguments, mesh=True)
    if "0-9,50-59,1048000-" in arguments:  # the boundary of the parts is a number that counts up
        plain, meshed = (one._replace(out=re.sub(rb"\d{20}", b"", one.out)) for one in (plain, meshed))
    assert meshed == plain
    counters = stage.counters(service)
    assert counters["requests"] == counters["allowed"]
    for trouble in ("out_of_step", "responses_lost", "undecodable_refused", "unjudged_packets", "not_traced"):
        assert counters.get(trouble, 0) == 0


def test_a_denied_file_between_others_of_nginx(stage: Stage) -> None:
    with stage.connect("nginx") as connection:
        client = Client(connection)
        for size in (8 << 20, 0, 4096):
            assert len(client.ask(f"/{size}").body) == size
            assert client.ask("/admin/x").status == 403
        client.send(b"".join(request(f"/{size}") for size in SIZES))
        assert [len(client.read().body) for _ in SIZES] == list(SIZES)


def test_responses_of_nginx_are_counted_by_class(stage: Stage) -> None:
    before = stage.rows("nginx")
    curl(stage, "nginx", "@/100", "@/moved", "@/missing", "@/1048576", "@/admin/x", mesh=True)
    after = stage.rows("nginx")
    added = {key[2]: after[key] - before.get(key, 0) for key in after if key[0] != "local"}
    assert {name: count for name, count in added.items() if count} == {"2xx": 2, "3xx": 1, "4xx": 1}
    assert sum(n for key, n in after.items() if key[0] == "local") - sum(
        n for key, n in before.items() if key[0] == "local"
    ) == 1  # fmt: skip


REQUESTS = [
    ["@/a", "@/b?x=1", "@/empty", "@/c"],
    ["@/sized/1000", "@/sized/1000000", "@/sized/0"],
    ["-X", "POST", "--data-binary", "hello", "@/form"],
    ["-H", "Expect: 100-continue", "-T", "{body}", "@/up"],
    ["-H", "Expect:", "-T", "{body}", "@/up"],
    ["-H", "Expect:", "-H", "Transfer-Encoding: chunked", "-T", "{body}", "@/up"],
    ["--http1.0", "@/a"],
    ["--head", "@/a", "@/b"],
    ["-H", "Connection: close", "@/sized/100000"],
]


@pytest.mark.parametrize("arguments", REQUESTS, ids=" ".join)
def test_servers_of_python_serve_the_same(stage: Stage, python: str, arguments: list[str]) -> None:
    body = stage.directory / "body"
    body.write_bytes(b"0123456789" * 30_000)
    words = [word.replace("{body}", str(body)) for word in arguments]
    plain = curl(stage, python, *words, mesh=False)
    assert plain.code == 0, plain.err
    assert curl(stage, python, *words, mesh=True) == plain


def test_a_server_of_python_and_a_denied_upload(stage: Stage, python: str) -> None:
    with stage.connect(python) as connection:
        client = Client(connection)
        for _ in range(3):
            assert client.ask("/sized/7", method="POST", body=b"u" * 100_000).status == 200
            assert client.ask("/admin/up", method="POST", body=b"u" * 1_000_000).status == 403
            assert client.ask("/sized/3").body == b"xxx" or python == "uvicorn"


def test_envoy_behind_the_mesh(stage: Stage, proxy: Envoy) -> None:
    with stage.connect("envoy") as connection:
        client = Client(connection)
        for size in (0, 100, 1 << 20):
            response = client.ask(f"/{size}")
            assert (response.status, len(response.body)) == (200, size)
            assert client.ask("/admin/x").status == 403
        assert client.ask("/chunked/4096").status == 200
        client.send(b"".join(request(f"/{size}") for size in SIZES[:6]))
        assert [len(client.read().body) for _ in SIZES[:6]] == list(SIZES[:6])
    told = [entry["path"] for entry in proxy.told(10)]
    assert "/admin/x" not in told


REDIS = """
import sys, redis
client = redis.Redis(sys.argv[1], int(sys.argv[2]), socket_timeout=10, socket_connect_timeout=10)
client.set("key", "x" * 300000)
with client.pipeline() as pipeline:
    for n in range(1000):
        pipeline.incr("n")
    pipeline.execute()
print(len(client.get("key")), int(client.get("n")))
"""


def test_redis_without_l7_by_rules_for_connections(stage: Stage, redis: int) -> None:
    for service, out in (("redis", b"300000 1000\n"), ("no-redis", b"")):
        host, _ = stage.endpoint(service)
        finished = stage.run([sys.executable, "-c", REDIS, host, str(redis)], mesh=True)
        assert finished.out == out, finished.err.decode()
    assert b"Permission denied" in finished.err
    assert stage.counters("no-redis")["denied"] >= 1
