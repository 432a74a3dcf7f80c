"""Reading the conformance data: cases that other projects wrote, kept outside of this tree.

They lie in ``../shared/conformance`` beside this tree, or where ``EBPFMESH_CONFORMANCE`` points. They
are not a part of the project, so a clone by itself does not have them: what reads them is skipped, and says why.

    http1/requests.json         a list of cases; ``input`` is base64, ``expect`` a list of events without offsets
    hpack/ENCODER/story_NN.json  header blocks of one connection, in order; ``wire`` is hex
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(os.environ.get("EBPFMESH_CONFORMANCE") or Path(__file__).parents[2] / "shared" / "conformance")
REASON = f"the conformance data is not in {ROOT}: it is no part of this project; set EBPFMESH_CONFORMANCE to where it is"
PRESENT = ROOT.is_dir()

needs_data = pytest.mark.skipif(not PRESENT, reason=REASON)
"""Marks a test that reads the data: skipped, with the reason, where there is none."""


class Http1Case(NamedTuple):
    """One case of llhttp's tests. ``kind`` is ``request``, or names the leniency under which it holds."""

    name: str
    kind: str
    input: bytes
    expect: tuple[tuple[Any, ...], ...]
    noscan: bool  # the input is given as a whole only
    pause: str | None
    skip_body: bool

    @property
    def fails(self) -> bool:
        """Whether an error is expected."""
        return any(event[0] == "error" for event in self.expect)

    def values(self, name: str) -> list[Any]:
        """The value of each expected event of that name, in order."""
        return [event[1] if len(event) > 1 else None for event in self.expect if event[0] == name]

    def __str__(self) -> str:
        return self.name


class HpackBlock(NamedTuple):
    """One header block: its bytes, and what they mean. ``table_size``: the size allowed and set from here on, if given."""

    wire: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    table_size: int | None


class HpackStory(NamedTuple):
    """The blocks of one direction of one connection: they share a dynamic table."""

    encoder: str
    name: str
    blocks: tuple[HpackBlock, ...]

    def __str__(self) -> str:
        return f"{self.encoder}/{self.name}"


@cache
def http1_cases(*kinds: str) -> Sequence[Http1Case]:
    """The request cases of these kinds, of all kinds if none is named; an empty list where there is no data."""
    path = ROOT / "http1" / "requests.json"
    if not path.exists():
        return []
    return [
        Http1Case(
            name=case["name"],
            kind=case["kind"],
            input=base64.b64decode(case["input"]),
            expect=tuple(tuple(event) for event in case["expect"]),
            noscan=case["noscan"],
            pause=case["pause"],
            skip_body=case["skip_body"],
        )
        for case in json.loads(path.read_text())
        if not kinds or case["kind"] in kinds
    ]


@cache
def hpack_stories(encoder: str | None = None) -> Sequence[HpackStory]:
    """The stories of one encoder, of all if none is named; an empty list where there is no data."""
    return [
        HpackStory(path.parent.name, path.stem, tuple(map(_block, json.loads(path.read_text())["cases"])))
        for path in sorted((ROOT / "hpack").glob("*/story_*.json"))
        if encoder in (None, path.parent.name)
    ]


def _block(case: dict[str, Any]) -> HpackBlock:
    return HpackBlock(
        wire=bytes.fromhex(case["wire"]),
        headers=tuple(
            (name.encode(), value.encode()) for header in case["headers"] for name, value in header.items()
        ),
        table_size=case.get("header_table_size"),
    )
