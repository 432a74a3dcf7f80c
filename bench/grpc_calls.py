"""grpcio's own client and server: `python -m bench.grpc_calls serve PORT`, `… call HOST PORT SECONDS`,
`… refusal HOST PORT`.

Unary calls with the same small message as h2load sends; one client, one call at a time, in a loop.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SERVICE, METHOD = "shop.v1.Cart", "AddItem"
MESSAGE = b"\x0a\x08item-123\x10\x02\x18\xe9\x07"


def serve(port: int) -> None:
    """Answer until killed; messages are bytes, so that no protobuf is measured."""
    import grpc  # type: ignore[import-untyped]

    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def call(address: str, seconds: float) -> dict[str, float]:
    """Calls a second, one at a time, behind a first one that connects; a call that fails ends it."""
    import grpc

    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        add = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        add(MESSAGE, timeout=10)
        calls, begin = 0, time.perf_counter()
        while (took := time.perf_counter() - begin) < seconds:
            add(MESSAGE, timeout=10)
            calls += 1
    return {"calls_per_second": calls / took, "calls": calls}


def refusal(address: str) -> str:
    """The status of a call of a method that no server here has, and no policy lets through."""
    import grpc

    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/admin/users")(MESSAGE, timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    elif sys.argv[1] == "refusal":
        print(refusal(f"{sys.argv[2]}:{sys.argv[3]}"))
    else:
        print(json.dumps(call(f"{sys.argv[2]}:{sys.argv[3]}", float(sys.argv[4]))))
