"""Normalising paths, and the patterns of rules: by the table of cases, and by properties."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.policy.path import LONGEST, BadPath, NormalPath, Pattern, normalise, parse

CASES = tomllib.loads((Path(__file__).parents[1] / "path_cases.toml").read_text())["case"]

pieces = st.sampled_from(
    [b"/", b"//", b".", b"..", b"%2e", b"%2E", b"a", b"b", b"%61", b"%25", b"%2f", b"%5c", b"\\", b";", b"%3b", b"%00",
     b"%", b"%6", b"\x7f", b"\xff", b"%ff", b" ", b"?"]
)  # fmt: skip
paths = st.one_of(
    st.lists(pieces, max_size=12).map(lambda found: b"/" + b"".join(found)),
    st.lists(st.sampled_from([b"a", b"b", b"", b".", b"..", b"%2e."]), max_size=9).map(lambda some: b"/" + b"/".join(some)),
    st.binary(max_size=30),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[repr(case["sent"]) for case in CASES])
def test_each_case_of_the_table(case: dict[str, Any]) -> None:
    found = normalise(case["sent"].encode("latin-1"), keep_parameters=case.get("keep", False))
    if "refused" in case:
        assert found is BadPath[case["refused"]]
    else:
        segments = tuple(one.encode("latin-1") for one in case["segments"])
        assert found == NormalPath(case["path"].encode("latin-1"), segments)


def test_every_reason_is_in_the_table_or_here() -> None:
    assert {BadPath[case["refused"]] for case in CASES if "refused" in case} == {*BadPath} - {
        BadPath.TOO_LONG
    }
    assert normalise(b"/" + b"a" * LONGEST) is BadPath.TOO_LONG
    assert isinstance(normalise(b"/" + b"a" * (LONGEST - 1)), NormalPath)
    assert normalise(b"/%61" + b"/." * 1024) is BadPath.TOO_LONG  # as sent, not as it would be


@given(paths, st.booleans())
@example(b"/a/..", False)
def test_what_is_normalised_holds_nothing_that_is_refused(path: bytes, keep: bool) -> None:
    found = normalise(path, keep_parameters=keep)
    if isinstance(found, BadPath):
        return
    assert found.path == b"/" + b"/".join(found.segments)
    assert b"" not in found.segments[:-1] and len(found.segments) > 0
    assert not {b".", b".."} & {*found.segments}
    forbidden = {*range(0x20), 0x7F, 0x5C} | (set() if keep else {0x3B})
    assert not forbidden & {*found.path}
    assert not any(b"/" in segment for segment in found.segments)
    assert len(found.path) <= len(path)


@given(paths, st.booleans())
def test_normalising_what_is_normal_changes_nothing(path: bytes, keep: bool) -> None:
    found = normalise(path, keep_parameters=keep)
    if isinstance(found, BadPath):
        return
    assert normalise(found.path.replace(b"%", b"%25"), keep_parameters=keep) == found
    sent = quote_from_bytes(found.path, safe="/")
    assert normalise(sent.encode(), keep_parameters=keep) == (
        found if len(sent) <= LONGEST else BadPath.TOO_LONG
    )


@given(paths, st.data())
def test_encoding_a_character_changes_nothing(path: bytes, data: st.DataObject) -> None:
    plain = [
        at for at, byte in enumerate(path) if byte not in b"/%" and b"%" not in path[max(at - 2, 0) : at]
    ]
    assume(plain)
    at = data.draw(st.sampled_from(plain))
    assert normalise(path[:at] + b"%%%02X" % path[at] + path[at + 1 :]) == normalise(path)


@given(
    paths.filter(lambda path: path.startswith(b"/")),
    st.lists(st.sampled_from([b"x", b"...", b"%2541", b"%ff", b"a%20b"]), max_size=4),
)
def test_a_detour_changes_nothing(path: bytes, detour: list[bytes]) -> None:
    aside = b"".join(b"/" + segment for segment in detour)
    assert normalise(aside + b"/.." * len(detour) + path) == normalise(path)
    assert normalise(aside + b"//.//%2e%2E" * len(detour) + path) == normalise(path)


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("/", ["/"], ["/a", "//a"]),
        ("/a", ["/a", "//a", "/%61", "/b/../a"], ["/a/", "/A", "/ab", "/", "/a/b"]),
        ("/a/", ["/a/", "/a//", "/a/.", "/a/b/.."], ["/a", "/a/b"]),
        ("/**", ["/", "/a", "/a/b/", "/" + "x/" * 40], []),
        ("/admin/**", ["/admin", "/admin/", "/admin/a/b", "/admin/a/../b"],
         ["/administrator", "/", "/x/admin", "/admin/../x"]),
        ("/users/*/orders", ["/users/7/orders", "/users//7/orders"],
         ["/users/orders", "/users//orders", "/users/7/orders/"]),
        ("/*", ["/a", "/%2A"], ["/", "/a/", "/a/b"]),
        ("/a/*/", ["/a/b/"], ["/a/b", "/a/", "/a//"]),
        ("/a/*/**", ["/a/b", "/a/b/", "/a/b/c"], ["/a", "/a/"]),
        ("/%2A", ["/*", "/%2a"], ["/a"]),
        ("/caf%C3%A9", ["/caf%c3%a9"], ["/cafe"]),
        ("/café", ["/caf%c3%a9"], ["/cafe"]),
    ],
)  # fmt: skip
def test_what_a_pattern_matches(text: str, matching: list[str], others: list[str]) -> None:
    pattern = parse(text)
    for path in matching + others:
        found = normalise(path.encode())
        assert isinstance(found, NormalPath)
        assert pattern.matches(found.segments) == (path in matching), path


@given(paths, st.integers(1, 16))
def test_an_exact_pattern_matches_itself_alone(path: bytes, most: int) -> None:
    found = normalise(path, keep_parameters=True)
    assume(isinstance(found, NormalPath) and len(found.segments) <= most)
    assert isinstance(found, NormalPath)
    exact = parse(quote_from_bytes(found.path, safe="/"))
    assert exact == Pattern(found.segments, below=False)
    assert exact.is_exact and exact.path == found.path and exact.matches(found.segments)
    assert not exact.matches((*found.segments, b"x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "does not begin with '/'"),
        ("", "does not begin with '/'"),
        ("/a?b", "has more than a path"),
        ("/a#b", "has more than a path"),
        ("/a*", "'*' is a whole segment"),
        ("/**/a", "'*' is a whole segment"),
        ("/***", "'*' is a whole segment"),
        ("/a//b", "has a segment ''"),
        ("/a//**", "has a segment ''"),
        ("/a/../b", "has a segment '..'"),
        ("/%2e/b", "has a segment '.'"),
        ("/a%2Fb", "an encoded slash"),
        ("/a%zz", "a '%' without two"),
        ("/a\\b", "a backslash"),
        ("/a\n", "a control character"),
        ("/" + "a" * 2048, "longer than 2048"),
    ],
)
def test_what_is_no_pattern(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_a_pattern_has_sixteen_segments_at_most() -> None:
    assert len(parse("/a" * 16 + "/**").segments) == 16
    with pytest.raises(CapacityError, match="17 segments"):
        parse("/a" * 17)
    with pytest.raises(CapacityError, match="17 segments"):
        parse("/a" * 16 + "/")  # the empty last one is one
