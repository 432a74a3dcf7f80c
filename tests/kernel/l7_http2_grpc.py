"""A client of grpcio in a process of its own, as a test starts it in its cgroup and namespace.

    python l7_http2_grpc.py TARGET THREADS CALLS

Each thread makes CALLS calls of one channel, one in two to a method that is denied; prints as JSON how often each code was
returned for each method.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter

import grpc


def main(target: str, threads: int, calls: int) -> None:
    channel = grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)])
    codes: Counter[str] = Counter()
    lock = threading.Lock()

    def call(thread: int) -> None:
        yes, no = (channel.unary_unary(f"/test.Echo/{name}") for name in ("Yes", "No"))
        for number in range(calls):
            method, name = (no, "No") if (number + thread) % 2 else (yes, "Yes")
            message = f"{thread} {number}".encode() * (1 + number % 50)
            try:
                answer = method(message, timeout=20, metadata=(("x-number", str(number % 7)),))
                code = "OK" if answer == message else "WRONG"
            except grpc.RpcError as error:
                code = error.code().name
                if code not in ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED"):
                    print(error, file=sys.stderr)
            with lock:
                codes[f"{name} {code}"] += 1

    running = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    channel.close()
    print(json.dumps(codes))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
