"""Keys and values as ``bpf/include/ebpfmesh/measure/measure.h`` declares them; a test compares them with its BTF."""

from __future__ import annotations

from struct import Struct

BUCKETS = 96
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Status classes by their number; 0: no response came."""
LOCAL = 0xFFFFFFFF
"""In place of a backend: answered in the kernel."""
RECENT = 1024

# service, backend, route, status class
METRIC_KEY = Struct("=IIII")
# requests, sent, received, nanoseconds, buckets
METRIC = Struct(f"=QQQQ{BUCKETS}Q")
# sequence, time, cookie, stream, retry after, service, backend, workload, policy, list, rule, route, limit, address,
# kind, allowed, reason, protocol, status, length of the path, method, host, traceparent, path
LOG_ENTRY = Struct("=QQQQQIIIIIIII16sBBBBHH16s40s56s80s")
# written, told, dropped, ring full, samples, metrics full
LOG_STATE = Struct("=QQQQQQ")

PATH_ROOM = 80
HOST_ROOM = 40
