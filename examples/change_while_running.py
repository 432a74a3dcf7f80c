"""Changing a mesh while it runs: look at a plan, apply it, drain and remove a backend, read the counters.

`sudo python examples/change_while_running.py CGROUP`; it changes the mesh four times, prints each step, and leaves nothing.
"""

import sys

from ebpfmesh import Backend, Config, EbpfMeshError, Mesh, Service

if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/change_while_running.py CGROUP (of the clients)")

one, two = Backend("127.0.0.1:8001"), Backend("127.0.0.1:8002")


def web(*backends: Backend) -> Service:
    return Service("web", addresses=["10.96.0.10:80"], backends=backends, balance="weighted-round-robin")


with Mesh(Config("changing", cgroup=sys.argv[1], services=[web(one)])) as mesh:
    wanted = mesh.config.with_service(web(one, two))
    print(mesh.plan(wanted))  # a pure comparison, nothing is written
    mesh.apply(wanted)

    mesh.put(web(one, Backend("127.0.0.1:8002", weight=3)))  # one service, without the rest of the model
    mesh.put(web(one, Backend("127.0.0.1:8002", draining=True)))  # no new connections; open ones go on
    mesh.put(web(one))

    try:
        mesh.put(web(Backend("127.0.0.1")))
    except EbpfMeshError as error:
        print(f"refused: {error}")  # and what ran before keeps running

    mesh.collect()  # frees what left and has no connection any more; `watch` does this by itself
    for service in mesh.status().services:
        print(service.name, [backend.address for backend in service.backends])
