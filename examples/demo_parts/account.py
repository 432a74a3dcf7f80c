"""What the demo found, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """Something that was measured: a `name` for machines, the number, a sentence, and whether it is as it must be."""

    name: str
    value: float
    text: str
    holds: bool


class Account:
    """Every finding, in the order in which they were made."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def found(self, name: str, value: float, text: str, holds: bool) -> None:
        """Note one."""
        self.findings.append(Finding(name, value, text, holds))

    @property
    def failed(self) -> list[Finding]:
        """Those that are not as they must be."""
        return [finding for finding in self.findings if not finding.holds]

    def write(self, path: Path) -> None:
        """All of them as JSON, by name."""
        path.write_text(json.dumps({finding.name: vars(finding) for finding in self.findings}, indent=1))
