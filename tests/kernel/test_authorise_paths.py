"""Paths are normalised in the kernel as in ebpfmesh.policy.path, to the byte."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from decisions import BAD_PATH, BAD_PATH_REPLY, BY_DEFAULT, HAS_PATHS, KEEPS_PARAMETERS, Tables
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import PATH, Asked, DecisionEngine
from ebpfmesh.policy.path import BadPath, normalise

pytestmark = pytest.mark.kernel(feature="loop")

CASES = tomllib.loads((Path(__file__).parents[1] / "path_cases.toml").read_text())["case"]


@pytest.fixture(scope="module")
def loaded() -> Iterator[DecisionEngine]:
    with decision.load() as kernel:
        for service, flags in ((1, HAS_PATHS), (2, HAS_PATHS | KEEPS_PARAMETERS), (3, 0)):
            tables = Tables(flags=flags)
            tables.add_policy()
            tables.install(kernel, service=service)
        yield kernel


def normalised(kernel: DecisionEngine, sent: bytes, *, keep: bool = False) -> bytes | None:
    """The kernel's path; None if it was refused, and then answered as such."""
    decided = kernel.decide(Asked.of(path=sent), service=2 if keep else 1, policy=1)
    if decided.allowed:
        assert decided.reason == BY_DEFAULT
        return decided.path
    assert (decided.reason, decided.reply) == (BAD_PATH, BAD_PATH_REPLY)
    return None


def expected(sent: bytes, *, keep: bool = False) -> bytes | None:
    found = normalise(sent, keep_parameters=keep)
    return None if isinstance(found, BadPath) else found.path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["sent"][:40])
def test_cases(loaded: DecisionEngine, case: dict[str, Any]) -> None:
    sent, keep = case["sent"].encode("latin-1"), case.get("keep", False)
    wanted = None if "refused" in case else case["path"].encode("latin-1")
    assert normalised(loaded, sent, keep=keep) == wanted


# pieces of which difficult paths are made, and any bytes between them
PIECES = st.sampled_from(
    [
        *(b"/", b"//", b".", b"..", b"/.", b"/..", b"/../", b"/./", b"a", b"abcdefg", b"abcdefgh"),
        *(b"%2e", b"%2E", b"%2f", b"%5c", b"%25", b"%3B", b"%41", b"%", b"%4"),
        *(b";", b"\\", b"\x7f", b"\x1f", b" ", b"\x80", b"\xff", b"x" * 63, b"y" * 64, b"z" * 65),
    ]
)
PATHS = st.lists(PIECES | st.binary(min_size=1, max_size=9), max_size=24).map(
    lambda parts: b"/" + b"".join(parts)
)


@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(sent=PATHS | st.binary(min_size=1, max_size=40), keep=st.booleans())
@example(sent=b"/" + b"a/" * 1023 + b"b", keep=False)
@example(sent=b"/" + b"a/" * 1023 + b"/", keep=False)
@example(sent=b"/" + b"a/" * 681 + b"../" * 680 + b"..", keep=False)
@example(sent=b"/" + b"a/" * 1024, keep=False)
def test_any_path_as_the_reference(loaded: DecisionEngine, sent: bytes, keep: bool) -> None:
    # an empty path and "*" have a meaning of their own; see below
    assert sent == b"*" or normalised(loaded, sent, keep=keep) == expected(sent, keep=keep)


@pytest.mark.parametrize("length", [*range(1, 20), 255, 256, 257, 2047, 2048, 2049, 4000])
@pytest.mark.parametrize("tail", [b"", b"/..", b"%41"])
def test_every_length_through_both_ways(loaded: DecisionEngine, length: int, tail: bytes) -> None:
    sent = (b"/" + b"abcdefghi/" * 400)[: max(length - len(tail), 1)] + tail
    assert normalised(loaded, sent) == expected(sent)


@pytest.mark.parametrize("at", [*range(18), 2046])
@pytest.mark.parametrize("byte", [0, 0x1F, 0x20, 0x25, 0x2E, 0x3B, 0x5C, 0x7F, 0x80, 0xFF])
def test_every_byte_at_every_place_of_a_word(loaded: DecisionEngine, at: int, byte: int) -> None:
    sent = bytearray(b"/" + b"a" * 30 if at < 30 else b"/" + b"a" * 2047)
    sent[at + 1] = byte
    assert normalised(loaded, bytes(sent)) == expected(bytes(sent))
    sent[at] = ord("/")
    assert normalised(loaded, bytes(sent)) == expected(bytes(sent))


def test_the_end_of_a_record(loaded: DecisionEngine) -> None:
    """A path at the end of the text is not read beyond it."""
    for path in (b"/a/b", b"/a/../b", b"/" + b"a" * 300, b"/" + b"a" * 2047):
        before = {9: b"x" * (4096 - len(path) - 3)}
        decided = loaded.decide(Asked({**before, 0: b"GET", PATH: path}), policy=1)
        assert decided.path == expected(path)


def test_what_has_no_path(loaded: DecisionEngine) -> None:
    for path in (None, b"*"):
        decided = loaded.decide(Asked.of(method=b"OPTIONS", path=path), policy=1)
        assert (decided.allowed, decided.reason, decided.path) == (True, BY_DEFAULT, None)
    for path in (b"**", b"*/", b"a", b""):
        assert not loaded.decide(Asked.of(path=path), policy=1).allowed


@pytest.mark.parametrize("present", [True, False])
def test_a_path_that_was_cut_or_repeated_is_refused(loaded: DecisionEngine, present: bool) -> None:
    path = b"/a" if present else None
    for bits in ({"truncated": (PATH,)}, {"repeated": (PATH,)}):
        assert loaded.decide(Asked.of(path=path, **bits), policy=1).reason == BAD_PATH


def test_paths_are_not_looked_at_where_no_rule_asks(loaded: DecisionEngine) -> None:
    decided = loaded.decide(Asked.of(path=b"/%zz"), service=3, policy=1)
    assert (decided.allowed, decided.path) == (True, None)
