"""What the servers saw of requests: a policy that denies is believed when nobody behind it saw anything."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from demo_parts.program import Program

Seen = dict[str, str | None]
"""One request: `server`, `path`, `traceparent`."""


class Witnesses:
    """Servers, each of which tells the requests that it sees before it answers them, but for those of /."""

    def __init__(self, servers: Mapping[str, Program]) -> None:
        self._servers = servers

    def seen(self) -> dict[str, int]:
        """How many requests each has told so far."""
        return {name: len(server.lines) for name, server in self._servers.items()}

    def since(self, before: Mapping[str, int], expected: int) -> list[Seen]:
        """What they told since then, stock last; waits for as many as are expected, and a moment for more."""
        deadline = time.monotonic() + 3
        while len(self._told(before)) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        return self._told(before)

    def _told(self, before: Mapping[str, int]) -> list[Seen]:
        names = sorted(self._servers, key=lambda name: (name == "stock", name))
        return [
            json.loads(line) for name in names for line in self._servers[name].lines[before.get(name, 0) :]
        ]
