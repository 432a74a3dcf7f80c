"""The examples of the parsers, run as their first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RECORDED = EXAMPLES / "recorded"


def example(name: str, *arguments: Path) -> list[str]:
    """The lines that an example says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_recording_is_read_and_its_responses_find_their_requests() -> None:
    said = example("read_a_recording.py", RECORDED / "shop.requests", RECORDED / "shop.responses")
    assert said[:2] == ["request 1: GET /shop to shop.example", "request 2: POST /orders to shop.example"]
    assert said[3:] == [
        "response 1: 200",
        "  5 bytes of 1",
        "response 2: 201",
        "  6 bytes of 2",
        "  5 bytes of 2",
    ]


def test_a_smuggled_request_is_refused_at_its_byte() -> None:
    line = (RECORDED / "smuggled.requests").read_bytes().index(b"Transfer-Encoding")
    [said] = example("read_a_recording.py", RECORDED / "smuggled.requests", RECORDED / "shop.responses")
    [position] = re.findall(r"^refused: http1 request at byte (\d+): length and coding$", said)
    assert line <= int(position) <= line + len("Transfer-Encoding:")


def test_a_registered_header_is_told_and_a_secret_is_compared() -> None:
    said = example("headers_and_secrets.py")
    assert said == ["{'x-tenant': 'blue'}", "the token is the known one: True"]


def test_a_protocol_is_found_and_what_nobody_knows_is_opaque() -> None:
    unknown = ROOT / "examples" / "mesh.toml"
    known, opaque = example("find_the_protocol.py", RECORDED / "shop.requests", unknown)
    assert known == f"{RECORDED / 'shop.requests'}: http1 after 5 bytes"
    assert opaque.startswith(f"{unknown}: opaque after ")


NEEDS_NOTHING = {
    "demo.py",
    "headers_and_secrets.py",
    "own_sockops_program.py",
    "typed_map_and_ring_buffer.py",
}


@pytest.mark.parametrize("script", sorted({path.name for path in EXAMPLES.glob("*.py")} - NEEDS_NOTHING))
def test_an_example_that_is_given_nothing_says_in_one_line_what_it_needs(script: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("usage: ")
    assert script in line
