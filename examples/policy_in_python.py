"""A rule, a limit and a trace for one service, and every decision: `sudo python examples/policy_in_python.py CGROUP`.

The server is a thread of this program, which is a client too as soon as its process is in the cgroup.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from ebpfmesh import Config, Mesh, Service
from ebpfmesh.observe import Observer
from ebpfmesh.policy import Http, Limit, Log, Rule, Workload


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        trace = f"trace {self.headers['traceparent']}\n".encode()  # the mesh set it
        self.send_response(200)
        self.send_header("Content-Length", str(len(trace)))
        self.end_headers()
        self.wfile.write(trace)

    def log_message(self, *_: object) -> None: ...


if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/policy_in_python.py CGROUP (which it enters)")
server, cgroup = ThreadingHTTPServer(("127.0.0.1", 0), Shop), sys.argv[1]
Thread(target=server.serve_forever, daemon=True).start()

shop = Service(
    "shop",
    addresses=["10.96.0.30:80"],
    backends=[f"127.0.0.1:{server.server_port}"],
    l7="http1",
    http=Http(trace=True),
    rules=[Rule("no-admin", action="deny", paths=["/admin/**"])],
    limits=[Limit("few-searches", rate="1/m", burst=2, key="identity", paths=["/search"])],
)
who = [Workload("shopper", cgroup)]
log = Log(sample=1)  # tell every decision, not only denials

with Mesh(Config("in-python", cgroup, services=[shop], workloads=who, log=log)):
    Path(cgroup, "cgroup.procs").write_text("0")  # this process
    client = HTTPConnection("10.96.0.30")
    for path in ("/cups", "/admin/users", "/search", "/search", "/search"):
        client.request("GET", path)
        answer = client.getresponse()
        print(path, answer.status, answer.read().decode().strip())
    client.close()
    with Observer.of("in-python") as observer:
        for one in observer.recent():
            print(one.workload, one.path, "allowed" if one.allowed else "denied", one.rule or one.reason)
