"""A client that makes requests without end, and the count that it prints."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from demo_parts.program import Program


class Load(Program):
    """The process of client.py, and its latest count."""

    @property
    def count(self) -> dict[str, Any]:
        """What it printed last."""
        nothing: dict[str, Any] = {"by": {}, "failed": 0, "slowest_ms": 0.0, "errors": []}
        return json.loads(self.lines[-1]) if self.lines else nothing

    @property
    def failed(self) -> int:
        """Failed requests; a client that ended by itself has failed as well."""
        return int(self.count["failed"]) + (self.process.poll() is not None)

    @property
    def requests(self) -> int:
        """Answered requests."""
        return sum(self.by.values())

    @property
    def by(self) -> Counter[str]:
        """Answered requests by backend."""
        return Counter(self.count["by"])
