"""Load: requests one after the other, and every tenth of a second a line of JSON that counts them.

`python client.py HOST PORT`       a new connection for each request
`python client.py HOST PORT NAME`  one connection to backend NAME, kept for ever
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException

HOST, PORT = sys.argv[1], int(sys.argv[2])
KEPT = sys.argv[3] if len(sys.argv) > 3 else None
PAUSE = 0.005 if KEPT is None else 0.01


def get(connection: HTTPConnection, headers: dict[str, str]) -> str:
    """One request: the name of the backend that answered it."""
    connection.request("GET", "/", headers=headers)
    response = connection.getresponse()
    body = response.read().decode().strip()
    if response.status != 200:
        raise HTTPException(f"status {response.status}")
    return body


def fresh() -> str:
    """A request with a connection of its own."""
    connection = HTTPConnection(HOST, PORT, timeout=3)
    try:
        return get(connection, {"Connection": "close"})
    finally:
        connection.close()


def kept_to(name: str) -> HTTPConnection:
    """A connection that the mesh gave to backend `name`: the first of several that ended up there."""
    while True:
        connection = HTTPConnection(HOST, PORT, timeout=3)
        if get(connection, {}) == name:
            connection.auto_open = 0  # if it breaks, it stays broken, and that counts as a failure
            return connection
        connection.close()


def main() -> None:
    """Until ended."""
    kept = kept_to(KEPT) if KEPT else None
    by: Counter[str] = Counter()
    failed, slowest = 0, 0.0
    errors: list[str] = []
    report_at = time.monotonic()
    while True:
        begin = time.monotonic()
        try:
            by[get(kept, {}) if kept else fresh()] += 1
        except (OSError, HTTPException) as error:
            failed += 1
            errors = [*errors[-2:], f"{type(error).__name__}: {error}"]
        now = time.monotonic()
        slowest = max(slowest, now - begin)
        if now >= report_at:
            count = {"by": by, "failed": failed, "slowest_ms": round(slowest * 1e3, 1), "errors": errors}
            print(json.dumps(count), flush=True)
            report_at = now + 0.1
        time.sleep(PAUSE)


main()
