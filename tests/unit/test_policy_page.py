"""docs/policy.md says what is true: its tables are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ebpfmesh.identity.check import DEEPEST
from ebpfmesh.policy import Config, Rule, Service, Source, Workload, path, wire
from ebpfmesh.policy.path import BadPath, NormalPath
from ebpfmesh.policy.reference import Client, Request, decide
from ebpfmesh.policy.request_match import HeaderMatch

PAGE = (Path(__file__).parents[2] / "docs/policy.md").read_text()


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose header begins with this."""
    _, _, below = PAGE.partition(f"\n| {head} |")
    found = []
    for line in below.splitlines()[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
    assert found
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


@pytest.mark.parametrize(("sent", "seen"), rows("as sent"))
def test_paths_are_normalised_as_the_page_says(sent: str, seen: str) -> None:
    found = path.normalise(quoted(sent)[0].encode())
    [expected] = quoted(seen)
    if seen.startswith("refused: "):
        assert isinstance(found, BadPath)
        assert found.value == expected
    else:
        assert isinstance(found, NormalPath)
        assert found.path == expected.encode()


def test_every_reason_to_refuse_a_path_is_in_the_table() -> None:
    said = {quoted(seen)[0] for _, seen in rows("as sent") if seen.startswith("refused")}
    assert said == {reason.value for reason in BadPath} - {BadPath.TOO_LONG.value}
    assert f"more than {path.LONGEST} bytes" in PAGE


@pytest.mark.parametrize(("rule", "matching", "others"), rows("rule"))
def test_rules_match_the_paths_that_the_page_says(rule: str, matching: str, others: str) -> None:
    pattern = path.parse(quoted(rule)[0])
    for text, wanted in [(one, True) for one in quoted(matching)] + [(one, False) for one in quoted(others)]:
        found = path.normalise(text.encode())
        assert isinstance(found, NormalPath)
        assert pattern.matches(found.segments) is wanted, text


ASKED: dict[str, HeaderMatch] = {
    '{ x-user = "root" }': HeaderMatch("x-user", "root"),
    '{ name = "x-user", prefix = "ro" }': HeaderMatch("x-user", prefix="ro"),
    "{ x-user = true }": HeaderMatch("x-user", present=True),
    "{ x-user = false }": HeaderMatch("x-user", present=False),
}
CONFIG = Config("mesh", "/mesh")


def denied(rule: Rule, request: Request, client: Client | None = None, config: Config = CONFIG) -> bool:
    service = Service("web", addresses=("10.0.0.1:80",), l7="http1", rules=(rule,))
    return not decide(config, service, client or Client(), request).allowed


@pytest.mark.parametrize(("asked", "once", "absent", "twice"), rows("asked"))
def test_headers_are_asked_for_as_the_page_says(asked: str, once: str, absent: str, twice: str) -> None:
    [header] = [ASKED[text] for text in quoted(asked)]
    closed, opened = (
        Rule("r", "deny", headers=(header,), on_error=on) for on in ("fail_closed", "fail_open")
    )  # type: ignore[arg-type]
    other, root = Request(b"GET", headers={"x-user": b"x"}), Request(b"GET", headers={"x-user": b"root"})
    assert denied(closed, root) is (once != "no")
    assert denied(closed, other) is (once == "yes")
    assert denied(closed, Request(b"GET")) is (absent == "yes")
    for uncertain in (
        Request(b"GET", headers={"x-user": b"root"}, repeated=("x-user",)),
        Request(b"GET", headers={"x-user": b"root"}, truncated=("x-user",)),
    ):
        assert denied(closed, uncertain) is (twice != "no")
        assert denied(opened, uncertain) is (twice == "yes")


def test_a_condition_that_is_surely_false_decides_whatever_cannot_be_told() -> None:
    rule = Rule("r", "deny", methods=("POST",), headers=(HeaderMatch("x-user", "root"),))
    assert not denied(rule, Request(b"GET", headers={"x-user": b"root"}, repeated=("x-user",)))


SOURCES: list[tuple[str, Client, bool]] = [
    ("workload", Client("/shop/checkout/a"), True),
    ("workload", Client("/shop/checkout/inner"), False),
    ("spiffe", Client("/shop/checkout"), True),
    ("below", Client("/shop/checkout"), True),
    ("below", Client("/shop/test"), False),
    ("labels", Client("/shop/checkout"), True),
    ("labels", Client("/shop/test"), False),
    ("cgroup", Client("/shop/batch/x"), True),
    ("cgroup", Client("/shop/batches"), False),
    ("address", Client("/shop/x", "10.1.2.3"), True),
    ("address", Client("/shop/x", "::ffff:10.1.2.3"), True),
    ("address", Client("/shop/x", "11.1.2.3"), False),
    ("both", Client("/shop/checkout", "10.1.2.3"), True),
    ("both", Client("/shop/checkout", "11.1.2.3"), False),
    ("both", Client("/shop/x", "10.1.2.3"), False),
    ("six", Client("/shop/x", "::ffff:10.1.2.3"), False),
    ("six", Client("/shop/x", "fd00::1"), True),
]


@pytest.mark.parametrize(("source", "client", "meant"), SOURCES)
def test_sources_mean_whom_the_page_says(source: str, client: Client, meant: bool) -> None:
    config = Config(
        "shop",
        "/shop",
        workloads=(
            Workload(
                "checkout",
                "/shop/checkout",
                "spiffe://example.org/ns/shop/sa/checkout",
                {"team": "pay", "a": "b"},
            ),
            Workload("inner", "/shop/checkout/inner"),
            Workload("test", "/shop/test", "spiffe://example.org/ns/shop-test/sa/x", {"team": "x"}),
        ),
    )
    of: dict[str, Any] = {
        "workload": "checkout",
        "spiffe": "spiffe://example.org/ns/shop/sa/checkout",
        "below": "spiffe://example.org/ns/shop/*",
        "labels": Source(labels={"team": "pay"}),
        "cgroup": "/shop/batch",
        "address": "10.0.0.0/8",
        "both": Source("checkout", address="10.0.0.0/8"),
        "six": "::/0",
    }
    rule = Rule("r", "deny", sources=[of[source]])  # type: ignore[arg-type]
    assert denied(rule, Request(b"GET"), client, config) is meant


def test_the_limits_in_the_page_are_those_of_the_tables() -> None:
    numbers = [int(most) for _, most in rows("what")]
    assert numbers == [
        wire.RULES_IN_LIST, wire.CONDITIONS, 8, path.SEGMENTS, wire.CONDITION_TEXT, DEEPEST,
    ]  # fmt: skip
