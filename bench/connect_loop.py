"""A process that calls connect() on one UDP socket again and again, and prints what one call takes in nanoseconds.

UDP, because connect() of a UDP socket sends nothing: what is left is the system call, the route and the programs.
ctypes calls the C library, with a ready sockaddr: Python's own connect() would parse the address each time.
"""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import sys
import time


def main(arguments: list[str]) -> None:
    """HOST PORT CALLS BATCHES: the fastest and the median batch, as JSON."""
    host, port, calls, batches = arguments[0], int(arguments[1]), int(arguments[2]), int(arguments[3])
    connect = ctypes.CDLL(None, use_errno=True).connect
    connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    # struct sockaddr_in: the family in host order, port and address in network order
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))
    size = len(address)
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        number = sock.fileno()
        if connect(number, address, size) != 0:
            raise OSError(ctypes.get_errno(), f"connect to {host}:{port}")
        for _ in range(batches):
            begin = time.perf_counter_ns()
            for _ in range(calls):
                connect(number, address, size)
            times.append((time.perf_counter_ns() - begin) / calls)
    times.sort()
    print(json.dumps({"lowest": times[0], "median": times[len(times) // 2]}))


if __name__ == "__main__":
    main(sys.argv[1:])
