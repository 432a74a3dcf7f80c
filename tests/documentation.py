"""Reading the documentation: its fenced blocks, what each claims to be, and the links and commands that it names.

A block is preceded by a comment that says where it comes from:

    <!-- snippet: PATH -->                         the whole file; `python docs/generate.py` copies it
    <!-- snippet: PATH from "TEXT" -->             from the first line that holds TEXT to the end
    <!-- snippet: PATH from "TEXT" to "OTHER" -->  … to the first line after it that holds OTHER
    <!-- refused: MESSAGE -->                      TOML that is refused with exactly this message
    <!-- run -->                                   commands that need no kernel, executed from the root of the tree
    <!-- session -->, <!-- agent -->               executed on the kernel, in order, by test_docs_session.py
    <!-- error: CLASS -->                          what such an error says; produced by test_docs_session.py
    <!-- drawing -->                               a figure
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_COMMENT = re.compile(r"^<!-- (?P<text>.*) -->$")
_SNIPPET = re.compile(r'^snippet: (?P<path>\S+)(?: from "(?P<first>[^"]*)")?(?: to "(?P<last>[^"]*)")?$')


class Block(NamedTuple):
    """A fenced block: ``origin`` is the comment on the line before it, if any."""

    page: Path
    line: int
    language: str
    origin: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """(command, output) for each line that begins with ``$ ``."""
        found: list[tuple[str, str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif found:
                command, output = found[-1]
                found[-1] = (
                    (f"{command}\n{line}", "") if command.endswith("\\") else (command, f"{output}{line}\n")
                )
        return found


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    origin, language, start, kept = "", "", 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```") and not start:
            language, start, kept = line[3:].strip(), number, []
        elif line.startswith("```"):
            yield Block(page, start, language, origin, "".join(f"{one}\n" for one in kept))
            origin, start = "", 0
        elif start:
            kept.append(line)
        elif comment := _COMMENT.match(line):
            origin = comment["text"]
        elif line.strip():
            origin = ""
    assert not start, f"{page}:{start}: a block that does not end"


ALL = [block for page in PAGES for block in blocks(page)]


def snippet(origin: str) -> str | None:
    """The text that a snippet's comment points at; None if the comment is about something else."""
    match = _SNIPPET.match(origin)
    if match is None:
        return None
    lines = (ROOT / match["path"]).read_text().splitlines(keepends=True)
    first = _line(lines, match["first"], 0) if match["first"] else 0
    last = _line(lines, match["last"], first) if match["last"] else len(lines) - 1
    return dedent("".join(lines[first : last + 1]))


def _line(lines: list[str], text: str, start: int) -> int:
    for number, line in enumerate(lines[start:], start):
        if text in line:
            return number
    raise AssertionError(f"no line holds {text!r}")


def prose(page: Path) -> str:
    """The page without its fenced blocks and comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What ``#...`` links into a page may name: its headings, as forges write them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def alike(said: str, shown: str) -> bool:
    """Whether a program said what the page shows, but for what differs between machines and runs; "…" is any text."""
    pattern = ".*".join(re.escape(part) for part in _normal(shown).split("…"))
    return re.fullmatch(pattern, _normal(said), flags=re.DOTALL) is not None


def _normal(text: str) -> str:
    """Numbers, sizes, hashes, paths and the width of columns made equal."""
    text = re.sub(r"(?<![\w.])/[\w./-]*\w(?:/|(?=[^\w]|$))", "PATH", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "HASH", text)
    text = re.sub(r"\d+(?:\.\d+)?(?: (?:[KMG]i)?B\b)?", "N", text)
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines())
