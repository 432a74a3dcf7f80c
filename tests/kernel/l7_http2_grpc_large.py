"""A client of grpcio whose calls are refused while segments cut the server's frames, as a test starts it in its cgroup.

    python l7_http2_grpc_large.py TARGET CALLS

On one channel: a call that is answered with much, then CALLS denied and CALLS limited calls; the same beside a stream that
comes as it is read. Prints as JSON how often each code was returned for each method, and how many messages the stream had.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import grpc


def main(target: str, calls: int) -> None:
    options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(target, options=options)
    codes: Counter[str] = Counter()

    def call(name: str) -> None:
        try:
            channel.unary_unary(f"/test.Echo/{name}")(b"x", timeout=20)
            codes[f"{name} OK"] += 1
        except grpc.RpcError as error:
            codes[f"{name} {error.code().name}"] += 1
            if error.code().name == "UNAVAILABLE":
                print(error, file=sys.stderr)

    call("Yes")
    for _ in range(3):
        call("Large")
        for _ in range(calls):
            call("No")
            call("Few")
    messages = 0
    for _ in channel.unary_stream("/test.Echo/Stream")(b"200", timeout=60):
        messages += 1
        if messages % 10 == 0:
            call("No")
            call("Few")
            time.sleep(0.001)
    call("Yes")
    channel.close()
    print(json.dumps({**codes, "messages": messages}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
