"""A balancer of your own, in a running mesh: the first backend takes everything, the next one stands by.

`sudo python examples/custom_balancer.py CGROUP`, then connect to 10.96.0.20:5432 in that cgroup.
Enter drains the first backend.
"""

import sys
from array import array
from collections.abc import Sequence

from ebpfmesh import Backend, Config, Mesh, Pick, Service, Table, Target, balancer


@balancer
class FirstAvailable:
    """Active/standby: the target with the lowest id that takes connections gets all of them."""

    name = "first-available"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """One slot, that of the first target with a weight above 0: the kernel picks it at every connect()."""
        active = sorted(target.id for target in targets if target.weight)
        return Table(array("H", active[:1]), Pick.TURN if active else Pick.NONE, len(active[:1]))


def database(*backends: Backend) -> Service:
    return Service("database", addresses=["10.96.0.20:5432"], backends=backends, balance=FirstAvailable.name)


primary, standby = Backend("127.0.0.1:8001"), Backend("127.0.0.1:8002")

if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/custom_balancer.py CGROUP (of the clients)")

with Mesh(Config("active-standby", cgroup=sys.argv[1], services=[database(primary, standby)])) as mesh:
    input("Everything goes to the primary; Enter to drain it. ")
    mesh.put(database(Backend(primary.address, draining=True), standby))
    input("New connections go to the standby; Enter to stop. ")
    for backend in mesh.status().services[0].backends:
        print(f"{backend.address} took {backend.opened} connections")
