"""A load balancer in ten lines: every program in a cgroup that connects to 10.96.0.10:80 reaches one of two backends.

`sudo python examples/balancer_in_ten_lines.py CGROUP`, then, in that cgroup, `curl http://10.96.0.10/`
"""

import sys

from ebpfmesh import Config, Mesh, Service

if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/balancer_in_ten_lines.py CGROUP (of the clients)")

web = Service("web", addresses=["10.96.0.10:80"], backends=["127.0.0.1:8001", "127.0.0.1:8002"])

with Mesh(Config("ten-lines", cgroup=sys.argv[1], services=[web])) as mesh:
    input("Running; Enter to stop. ")
    for backend in mesh.status().services[0].backends:
        print(f"{backend.address} took {backend.opened} connections")
