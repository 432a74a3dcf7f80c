"""The frames that tests/stack_depth.py reads from an object are those that the verifier sees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stack_depth
from ebpfmesh.lowlevel.libbpf import ffi, lib
from ebpfmesh.objects.open_object import OpenObject
from ebpfmesh.spec import ObjectSpec

pytestmark = pytest.mark.kernel(feature="loop")

STATISTICS = 4  # BPF_LOG_STATS
ROOM = 1 << 16
LOOP = 24  # bytes that the verifier adds for a bpf_loop() that it replaces
PROGRAMS = [
    ("l7_http2", "http2_sent"), ("l7_http2", "http2_received"), ("l7_http1", "http1_sent"),
    ("l7_http1", "http1_received"), ("l7", "enrol"), ("l7", "sent"), ("connect", "connect6"),
    ("authorise", "authorise_tc"), ("behaviour", "sent"),
]  # fmt: skip


def seen_by_the_verifier(path: Path, program: str) -> list[int]:
    """The frame of each function, in the order of the program's instructions."""
    log = ffi.new("char[]", ROOM)
    with OpenObject(ObjectSpec.from_file(path)) as opened:
        opened.autoload(frozenset([program]))
        one = opened.programs[program]
        opened.call("bpf_program__set_log_buf", one, log, ROOM, where=program)
        lib().bpf_program__set_log_level(one, STATISTICS)
        number, lines = opened.load()
        assert number == 0, lines
    text = ffi.string(log).decode()
    found = re.search(r"^stack depth ([\d+]+)", text, re.MULTILINE)
    assert found, text
    return [int(frame) for frame in found[1].split("+")]


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
def test_a_frame_is_what_the_verifier_sees(name: str, program: str) -> None:
    path = next(one for one in stack_depth.objects() if one.name == f"{name}.bpf.o")
    ours = stack_depth.appended(stack_depth.functions(path), program)
    theirs = seen_by_the_verifier(path, program)
    assert len(theirs) == len(ours)
    # the verifier rounds to words
    differ = {
        one.name: (one.frame, frame)
        for one, frame in zip(ours, theirs, strict=True)
        if not one.frame <= frame - (LOOP if one.loops and frame >= LOOP else 0) < one.frame + 8
    }
    assert not differ
