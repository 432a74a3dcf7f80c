"""The vectors of HTTP/2 and gRPC hold at every split point, and what they know is found again in the C headers."""

from __future__ import annotations

import re

import pytest

from ebpfmesh import l7
from ebpfmesh.include import get_include
from ebpfmesh.l7 import http2
from ebpfmesh.l7.vectors import run_vectors


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
def test_the_vectors_hold(protocol: str) -> None:
    parser = l7.parser(protocol)
    assert run_vectors(parser) > 1000


def c_names(header: str, prefix: str, first: str) -> list[str]:
    """The enumerators of a header's enum that begins with ``first``, without their prefix."""
    from pathlib import Path

    text = (Path(get_include()) / "ebpfmesh/l7" / header).read_text()
    body = text[text.index(first) : text.index("};", text.index(first))]
    return re.findall(rf"^\s*{prefix}([A-Z0-9_]+)\b", body, re.MULTILINE)


def test_codes_are_those_of_the_core() -> None:
    names = [code.name for code in http2.Code]
    assert names[: names.index("HPACK_CUT")] == c_names("http2/frame.h", "HTTP2_", "enum http2_code")
    hpack = [f"HPACK_{name}" for name in c_names("hpack/table.h", "HPACK_", "enum hpack_code")]
    assert names[names.index("HPACK_CUT") :] == hpack
    assert [int(code) for code in http2.Code] == [
        *range(16, 16 + names.index("HPACK_CUT")),
        *range(80, 80 + len(hpack)),
    ]


def test_frame_types_and_leniencies_are_those_of_the_core() -> None:
    assert [kind.name for kind in http2.FrameType] == c_names(
        "http2/frame.h", "HTTP2_TYPE_", "enum http2_type"
    )
    assert [name.lower() for name in c_names("http2/frame.h", "HTTP2_", "enum http2_leniency")] == [
        *http2.Http2.leniencies
    ]


# --- detection ----------------------------------------------------------------------------------------------------------

SETTINGS = b"\0\0\x0c\4\0\0\0\0\0" + bytes(12)


def test_a_preface_is_known_for_certain() -> None:
    parser = l7.parser("http2")
    assert parser.detect(http2.PREFACE, l7.REQUEST) == 100
    assert parser.detect(http2.PREFACE + SETTINGS, l7.REQUEST) == 100
    for at in range(len(http2.PREFACE)):
        assert parser.detect(http2.PREFACE[:at], l7.REQUEST) is None
        wrong = http2.PREFACE[:at] + b"\0"
        assert parser.detect(wrong, l7.REQUEST) == 0


def test_a_server_begins_with_settings() -> None:
    parser = l7.parser("http2")
    assert parser.detect(SETTINGS, l7.RESPONSE) == 90
    assert parser.detect(b"\0\0\0\4\0\0\0\0\0", l7.RESPONSE) == 90
    assert parser.detect(SETTINGS[:8], l7.RESPONSE) is None
    for wrong in (
        b"HTTP/1.1 ",
        b"\0\0\7\4\0\0\0\0\0",
        b"\0\0\0\4\1\0\0\0\0",
        b"\0\0\6\0\0\0\0\0\1",
        b"\0\0\0\4\0\0\0\0\1",
    ):
        assert parser.detect(wrong, l7.RESPONSE) == 0


def test_http2_is_what_is_detected_where_grpc_might_be_meant() -> None:
    assert l7.parser("grpc").detect(http2.PREFACE, l7.REQUEST) == 50
    found = l7.detect(http2.PREFACE + SETTINGS, l7.REQUEST, port=50051)
    assert found is not None
