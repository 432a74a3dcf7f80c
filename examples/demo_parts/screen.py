"""What the demo prints: headings, a live table, the account. Plain ANSI, and none of it where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo_parts.account import Account

_BAR = 30
_COLOURS = {"bold": "1", "dim": "2", "green": "32", "red": "31", "cyan": "36"}


@dataclass
class Screen:
    """Where to print; `live` if it is a terminal, on which the table is redrawn in place."""

    live: bool = field(default_factory=sys.stdout.isatty)
    _drawn: int = 0

    def paint(self, text: str, colour: str) -> str:
        """`text` in a colour, on a terminal."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.live else text

    def heading(self, text: str) -> None:
        """A new act."""
        self._drawn = 0
        print(f"\n{self.paint(text, 'bold')}", flush=True)

    def say(self, text: str = "") -> None:
        """A line below the heading."""
        self._drawn = 0
        print(f"  {text}", flush=True)

    def quote(self, text: str) -> None:
        """Lines of a file or of another program."""
        for line in text.splitlines():
            self.say(self.paint(f"  | {line}".rstrip(), "dim"))

    def table(
        self, status: str, backends: Mapping[str, int], removed: str | None = None, last: bool = False
    ) -> None:
        """A frame: requests per backend so far. Where nobody watches, only the last frame of an act is printed."""
        if not (self.live or last):
            return
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="")
        lines = [status, *self._rows(backends, removed)]
        for line in lines:
            print(f"    {line}")
        sys.stdout.flush()
        self._drawn = 0 if last or not self.live else len(lines)

    def _rows(self, backends: Mapping[str, int], removed: str | None) -> list[str]:
        total = sum(backends.values()) or 1
        rows = []
        for name, count in backends.items():
            length = round(_BAR * count / total)
            bar = self.paint("█" * length, "cyan") + self.paint("·" * (_BAR - length), "dim")
            note = "  removed" if name == removed else ""
            rows.append(f"{name}  {bar} {count:>7,} requests{note}")
        return rows

    def account(self, account: Account) -> None:
        """What was seen, one line each."""
        self.heading("What happened")
        for finding in account:
            mark = self.paint("ok    ", "green") if finding.holds else self.paint("FAILED", "red")
            self.say(f"{mark}  {finding.text}")
