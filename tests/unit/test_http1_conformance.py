"""HTTP/1 against the cases of llhttp: the same messages at every split point, or an error where one is expected."""

from __future__ import annotations

import re
from typing import Any

import pytest

import conformance
from conformance import Http1Case
from ebpfmesh import l7
from ebpfmesh.l7 import REQUEST, Config, Data, End, ParseError, Undecodable
from ebpfmesh.l7.http1 import LENIENCIES, Http1, Request, Trailers
from ebpfmesh.l7.vectors import splits

PARSER = Http1()
_HEADERS = ("folded_lines", "space_before_colon", "value_controls", "bare_cr")
KINDS: dict[str, tuple[str, ...]] = {
    "request": (),
    "request-finish": (),
    "request-lenient-all": tuple(name for name in LENIENCIES if name != "require_host"),
    "request-lenient-headers": _HEADERS,
    "request-lenient-optional-lf-after-cr": ("bare_cr",),
    "request-lenient-header-value-relaxed": ("value_controls",),
    "request-lenient-keep-alive": ("data_after_close",),
    "request-lenient-chunked-length": ("length_and_coding",),
    "request-lenient-transfer-encoding": ("any_coding",),
    "request-lenient-version": ("any_version",),
    "request-lenient-optional-crlf-after-chunk": ("no_crlf_after_chunk",),
    "request-lenient-spaces-after-chunk-size": ("space_after_chunk_size",),
}
DIFFERENCES = {  # argued in docs/http1-conformance.md
    "invalid: HTTP protocol and ANNOUNCE method",
    "invalid: Invalid method",
    "method: SOURCE request with ICE",
    "method: OPTIONS request with RTSP",
    "method: ANNOUNCE request with RTSP",
    "sample: No HTTP version",
    "invalid: Only LFs present (lenient)",
}
_PAUSES = 22  # llhttp stops behind a message that asks for another protocol
_ESCAPED = re.compile(r"\\(x..|.)", re.S)
_NAMED = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "0": "\0"}


def plain(text: str) -> str:
    """A span as the data writes it, without its escapes."""

    def unescaped(found: re.Match[str]) -> str:
        return _NAMED.get(found[1], found[1]) if len(found[1]) == 1 else chr(int(found[1][1:], 16))

    return _ESCAPED.sub(unescaped, text)


def messages(case: Http1Case) -> list[dict[str, Any]]:
    """What is expected: a dict for every message whose head is complete. The escapes of quotes are left as they are."""
    found: list[dict[str, Any]] = []
    head: dict[str, Any] = {}
    headers: list[list[str]] = []
    for name, *values in case.expect:
        if name == "message begin":
            head, headers = {"body": "", "complete": False}, []
        elif name in {"method", "url"}:
            head[name] = values[0]
        elif name == "header_field":
            headers.append([values[0].strip().lower(), ""])
        elif name == "header_value":
            headers[-1][1] = plain(values[0])
        elif name == "headers complete":
            head["headers"], headers = [(key, value.strip(" \t")) for key, value in headers], []
            found.append(head)
        elif name == "body":
            head["body"] += values[0]
        elif name == "message complete":
            head["complete"] = True
    return found


def read(pieces: list[tuple[int, bytes]], config: Config) -> tuple[list[dict[str, Any]], bool]:
    """(the same of what our parser tells, whether it failed or stopped)."""
    connection, told, failed = PARSER.connection(config), [], False
    try:
        for direction, data in pieces:
            told += connection.feed(direction, data)
    except ParseError as error:
        told += error.events
        failed = True
    found: list[dict[str, Any]] = []
    for event in told:
        if isinstance(event, Request):
            headers = list(event.headers)
            found.append(
                {
                    "method": event.method,
                    "url": event.target,
                    "headers": headers,
                    "body": "",
                    "complete": False,
                }
            )
        elif isinstance(event, Data):
            found[-1]["body"] += event.data.decode("latin-1")
        elif isinstance(event, End):
            found[-1]["complete"] = True
        elif isinstance(event, Undecodable):
            failed = True
        else:
            assert isinstance(event, Trailers)
    return found, failed


def alike(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    """The data writes line breaks and quotes in bodies and targets as it likes: they are compared without them."""

    def bare(message: dict[str, Any]) -> dict[str, Any]:
        body, url = (re.sub(r'[\r\n\\"]', "", plain(message[key])) for key in ("body", "url"))
        return {**message, "body": body, "url": url}

    return [bare(message) for message in ours] == [bare(message) for message in theirs]


CASES = conformance.http1_cases() if conformance.PRESENT else []


@conformance.needs_data
def test_there_are_cases_of_every_kind() -> None:
    assert {case.kind for case in CASES} == {*KINDS}


@conformance.needs_data
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_of_llhttp(case: Http1Case) -> None:
    if case.skip_body:
        pytest.skip(
            "llhttp is told by its caller that the message has no body; nothing in the message says so"
        )
    config = Config(all_headers=True, leniencies=frozenset(KINDS[case.kind]))
    whole, failed = read([(REQUEST, case.input)], config)
    for split, pieces in splits([(REQUEST, case.input)]):
        assert read(pieces, config) == (whole, failed), split
    # without the list of headers, lines are scanned in another way
    bare, stopped = read([(REQUEST, case.input)], Config(leniencies=config.leniencies))
    assert (bare, stopped) == ([{**message, "headers": []} for message in whole], failed)
    error = next((values[0] for name, *values in case.expect if name == "error"), None)
    if error is None or error == _PAUSES:
        same = alike(whole, messages(case)) and (error == _PAUSES or not failed)
    else:
        same = failed
    assert same == (case.name not in DIFFERENCES)


def test_l7_finds_it_by_its_name() -> None:
    assert isinstance(l7.parser("http1"), Http1)
