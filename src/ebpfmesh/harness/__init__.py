"""Parser cores in the kernel: any object of ``include/ebpfmesh/harness.h``, fed by hand or from real sockets.

    with harness.load("http1") as kernel:
        connection = kernel.connection(Config())
        connection.feed(REQUEST, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")

What it tells equals what the native engine (`ebpfmesh.l7.native`) tells of the same bytes. `load` takes a built-in by its
name, or an object that ``ebpfmesh build-parser`` made by its path. Nothing is attached to anything until `Sockets` is used.

``engine`` is what load() gives; ``connection`` feeds one connection; ``memory`` is what the program and this process
share; ``objects`` finds an object and checks it; ``sockets`` parses what real sockets send and receive; ``dispatch``
holds several parsers behind one entry.
"""

from ebpfmesh.harness.connection import KernelConnection, Measured
from ebpfmesh.harness.dispatch import Dispatcher
from ebpfmesh.harness.engine import KernelEngine, load
from ebpfmesh.harness.sockets import SocketEvent, Sockets

__all__ = ["Dispatcher", "KernelConnection", "KernelEngine", "Measured", "SocketEvent", "Sockets", "load"]
