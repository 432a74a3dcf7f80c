"""Rules of one list: what they ask, in which order they decide, and what is made of what cannot be known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from decisions import (
    ALLOW,
    AUDIT,
    BEGINS,
    BY_DEFAULT,
    BY_RULE,
    DENY,
    ENDS,
    EQUALS,
    ERRORS_PASS,
    FAULT,
    FAULTED,
    FOLDS,
    HAS_ALLOW,
    IS_ABSENT,
    IS_PRESENT,
    LIMIT,
    LIMITED,
    LOOK_UP_FAILED,
    NOT_ALLOWED,
    REFUSAL,
    ROUTE,
    WITHOUT_PORT,
    Condition,
    Tables,
    decide,
)

from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import HOST, Asked, DecisionEngine

pytestmark = pytest.mark.kernel(feature="loop")

USER = 20  # the first registered header
HEADER = 21


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


def matches(kernel: DecisionEngine, asked: Asked, *conditions: Condition, **options: Any) -> bool:
    """Whether a rule with these conditions is about the request."""
    tables = Tables()
    tables.add_policy([tables.rule(AUDIT, *conditions, **options)])
    return decide(kernel, tables, asked).audited


# --- what rules ask -----------------------------------------------------------------------------------------------------


def test_methods(kernel: DecisionEngine) -> None:
    names = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"]
    others = [b"get", b"GETS", b"PROPFIND", b"", b"POS", b"M-SEARCH", b"CONNECTS"]
    for bit in (*range(9), 15):
        found = [name for name in names + others if matches(kernel, Asked.of(method=name), methods=1 << bit)]
        assert found == ([names[bit]] if bit < 9 else others)
    assert matches(kernel, Asked({}), methods=1 << 15)
    assert not matches(kernel, Asked.of(method=b"GET", truncated=(0,)), methods=1)
    assert matches(kernel, Asked.of(method=b"PROPFIND"), (0, EQUALS, b"PROPFIND"), methods=1 << 15)


@pytest.mark.parametrize("size", [*range(10), 15, 16, 17, 63, 64, 65, 111, 112])
def test_texts_of_every_length(kernel: DecisionEngine, size: int) -> None:
    text = bytes(range(33, 33 + 94))[:94].ljust(112, b"+")[:size]

    def holds(op: int, value: bytes) -> bool:
        return matches(kernel, Asked.of(host=b"h", others={USER: value}), (USER, op, text))

    assert (
        holds(EQUALS, text)
        and holds(BEGINS, text)
        and holds(BEGINS, text + b"x")
        and holds(ENDS, b"x" + text)
    )
    assert not holds(EQUALS, text + b"x") and not holds(ENDS, text)
    for at in {0, size // 2, size - 1} - {-1} if size else ():
        other = text[:at] + b"~~"[: 1 + (text[at : at + 1] == b"~")][-1:] + text[at + 1 :]
        other = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        assert not holds(EQUALS, other) and not holds(BEGINS, other + b"x") and not holds(ENDS, b"x" + other)
        assert not holds(EQUALS, text[:at]) and not holds(BEGINS, text[:at])


def test_case_is_folded_where_asked(kernel: DecisionEngine) -> None:
    every = bytes(range(1, 128))
    for value in (every[:100], every[27:], b"SHOP.Example"):
        asked = Asked.of(host=value)
        assert matches(kernel, asked, (HOST, EQUALS, value.lower(), FOLDS))
        assert matches(kernel, asked, (HOST, EQUALS, value.lower())) == (value == value.lower())
    # bytes above ASCII are no letters
    assert not matches(kernel, Asked.of(host=b"\xc1"), (HOST, EQUALS, b"\xe1", FOLDS))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a.b", b"a.b"),
        (b"a.b:80", b"a.b"),
        (b"a.b:", b"a.b"),
        (b"a.b.:80", b"a.b"),
        (b"a.b.", b"a.b"),
        (b"a.b..", b"a.b."),
        (b"A.B:65535", b"a.b"),
        (b"a.b:0000000000000080", b"a.b"),
        (b"[::1]:80", b"[::1]"),
        (b"[::1]", b"[::1]"),
        (b"10.0.0.1", b"10.0.0.1"),
        (b"10.0.0.1:1", b"10.0.0.1"),
        (b"123", b"123"),
        (b":80", b""),
        (b".", b""),
        (b"", b""),
    ],
)
def test_hosts_without_port(kernel: DecisionEngine, host: bytes, name: bytes) -> None:
    flags = FOLDS | WITHOUT_PORT
    assert matches(kernel, Asked.of(host=host), (HOST, EQUALS, name, flags))
    assert not matches(kernel, Asked.of(host=host), (HOST, EQUALS, name + b"x", flags))
    if len(name) > 1:
        assert matches(kernel, Asked.of(host=host), (HOST, ENDS, name[1:], flags))
        assert not matches(kernel, Asked.of(host=host), (HOST, ENDS, name, flags))


def test_presence(kernel: DecisionEngine) -> None:
    for asked in (
        Asked.of(others={USER: b"x"}),
        Asked.of(others={USER: b""}),
        Asked.of(others={USER: b"x"}, repeated=(USER,)),
        Asked.of(truncated=(USER,)),
    ):
        assert matches(kernel, asked, (USER, IS_PRESENT))
        assert not matches(kernel, asked, (USER, IS_ABSENT))
    assert matches(kernel, Asked.of(), (USER, IS_ABSENT)) and not matches(
        kernel, Asked.of(), (USER, IS_PRESENT)
    )
    for op in (EQUALS, BEGINS, ENDS):
        assert not matches(kernel, Asked.of(), (USER, op, b""))


def test_all_conditions_must_hold(kernel: DecisionEngine) -> None:
    asked = Asked.of(host=b"h", others={USER + at: b"%d" % at for at in range(5)})
    conditions: list[Condition] = [
        (HOST, EQUALS, b"h"),
        *((USER + at, EQUALS, b"%d" % at) for at in range(5)),
    ]
    assert matches(kernel, asked, *conditions)
    for at in range(6):
        wrong = [*conditions[:at], (conditions[at][0], EQUALS, b"?"), *conditions[at + 1 :]]
        assert not matches(kernel, asked, *wrong)


# --- what cannot be known ------------------------------------------------------------------------------------------------

UNKNOWN = [
    Asked.of(others={USER: b"root"}, repeated=(USER,)),
    Asked.of(others={USER: b"root"}, truncated=(USER,)),
    Asked.of(truncated=(USER,)),
]


@pytest.mark.parametrize("asked", UNKNOWN)
@pytest.mark.parametrize("opens", [False, True])
def test_the_unknown_is_against_the_request_unless_the_rule_is_open(
    kernel: DecisionEngine, asked: Asked, opens: bool
) -> None:
    for action in (DENY, ALLOW, AUDIT):
        tables = Tables(flags=HAS_ALLOW if action == ALLOW else 0)
        tables.add_policy([tables.rule(action, (USER, EQUALS, b"root"), opens=opens)])
        decided = decide(kernel, tables, asked)
        if action == AUDIT:
            assert decided.audited == (not opens)
        else:
            assert decided.allowed == opens


def test_what_is_surely_false_decides_beside_the_unknown(kernel: DecisionEngine) -> None:
    for asked in UNKNOWN:
        for order in (1, -1):
            conditions: list[Condition] = [(USER, EQUALS, b"root"), (HEADER, IS_PRESENT)][::order]
            tables = Tables()
            tables.add_policy([tables.rule(DENY, *conditions)])
            assert decide(kernel, tables, asked).allowed


def test_a_host_of_digits_without_end_is_not_known(kernel: DecisionEngine) -> None:
    flags = FOLDS | WITHOUT_PORT
    for digits, denied in ((31, False), (32, True), (200, True)):
        tables = Tables()
        tables.add_policy([tables.rule(DENY, (HOST, EQUALS, b"other", flags))])
        assert decide(kernel, tables, Asked.of(host=b"a:" + b"0" * digits)).allowed is not denied


# --- the order ------------------------------------------------------------------------------------------------------------


def test_deny_before_allow_before_the_rest(kernel: DecisionEngine) -> None:
    tables = Tables(flags=HAS_ALLOW)
    denies = tables.rule(DENY, (HOST, EQUALS, b"evil"), reply=8)
    allows = tables.rule(ALLOW, methods=1)
    audits = tables.rule(AUDIT, (USER, IS_PRESENT))
    routes = [tables.rule(ROUTE, (HOST, EQUALS, b"a"), argument=5), tables.rule(ROUTE, argument=6)]
    tables.add_policy([denies, allows, audits, *routes])
    decided = decide(kernel, tables, Asked.of(host=b"a", others={USER: b""}))
    assert (decided.allowed, decided.reason, decided.rule) == (True, BY_RULE, 102)
    assert (decided.audited, decided.route, decided.reply) == (True, 5, 0)
    decided = decide(kernel, tables, Asked.of(host=b"evil", others={USER: b""}))
    assert (decided.allowed, decided.reason, decided.rule, decided.reply) == (False, BY_RULE, 101, 8)
    assert (decided.audited, decided.route) == (
        True,
        6,
    )  # a denied request is audited, and counted by its route
    decided = decide(kernel, tables, Asked.of(method=b"POST", host=b"a"))
    assert (decided.allowed, decided.reason, decided.rule) == (False, NOT_ALLOWED, 0)
    assert (decided.reply, decided.audited, decided.route) == (REFUSAL, False, 5)


def test_the_default(kernel: DecisionEngine) -> None:
    for flags, allowed, reason in ((0, True, BY_DEFAULT), (HAS_ALLOW, False, NOT_ALLOWED)):
        for rules in (0, 1):
            tables = Tables(flags=flags)
            tables.add_policy([tables.rule(DENY, methods=1 << 5)] * rules)
            decided = decide(kernel, tables, Asked.of())
            assert (decided.allowed, decided.reason, decided.rule) == (allowed, reason, 0)


@pytest.mark.parametrize("place", range(32))
def test_thirty_two_rules(kernel: DecisionEngine, place: int) -> None:
    tables = Tables()
    tables.add_policy([tables.rule(DENY, (HOST, EQUALS, b"h%d" % at), reply=at + 1) for at in range(32)])
    decided = decide(kernel, tables, Asked.of(host=b"h%d" % place))
    assert (decided.allowed, decided.rule, decided.reply) == (False, 101 + place, place + 1)
    assert decide(kernel, tables, Asked.of(host=b"h32")).allowed


def test_faults_come_last_and_strike_their_share(kernel: DecisionEngine) -> None:
    tables = Tables()
    limit = tables.limit(10**9, 0)
    tables.add_policy(
        [
            tables.rule(DENY, methods=2),
            tables.rule(LIMIT, argument=limit),
            tables.rule(FAULT, reply=4, argument=~0 & 0xFFFFFFFF),
        ]
    )
    first = decide(kernel, tables, Asked.of(), now=1)
    assert (first.allowed, first.reason, first.reply) == (False, FAULTED, 4)
    assert kernel.decide(Asked.of(), policy=1, now=2).reason == LIMITED
    assert kernel.decide(Asked.of(method=b"HEAD"), policy=1, now=2).reason == BY_RULE
    for share, least, most in ((0, 0, 0), (1 << 31, 9_500, 10_500), ((1 << 32) // 10, 1_700, 2_300)):
        tables = Tables()
        tables.add_policy([tables.rule(FAULT, argument=share)])
        kernel.clear()
        tables.install(kernel)
        trials = kernel.measure(Asked.of(), policy=1, repeat=20_000)
        # ten standard deviations at least
        assert least <= trials.runs - trials.allowed <= most


def test_one_fault_in_several_rules_strikes_once(kernel: DecisionEngine) -> None:
    tables = Tables()
    tables.add_policy([tables.rule(FAULT, argument=1 << 31, number=9) for _ in range(20)])
    kernel.clear()
    tables.install(kernel)
    trials = kernel.measure(Asked.of(), policy=1, repeat=20_000)
    assert 9_500 <= trials.allowed <= 10_500


# --- failing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [False, True])
def test_a_rule_or_condition_that_is_not_there(kernel: DecisionEngine, passes: bool) -> None:
    for broken in ("rule", "condition", "limit"):
        tables = Tables(flags=ERRORS_PASS if passes else 0)
        if broken == "rule":
            tables.add_policy([5000])
        elif broken == "condition":
            tables.add_policy([tables.rule(DENY, (USER, EQUALS, b""))])
            row = bytearray(tables.rows["l7_rules"][1])
            row[16:20] = (2000).to_bytes(4, "little")
            tables.rows["l7_rules"][1] = bytes(row)
        else:
            tables.add_policy([tables.rule(LIMIT, argument=77)])
        decided = decide(kernel, tables, Asked.of())
        assert (decided.allowed, decided.reason) == (passes, LOOK_UP_FAILED)
        assert decided.reply == (0 if passes else REFUSAL)


def test_a_service_that_is_not_there(kernel: DecisionEngine) -> None:
    tables = Tables(flags=ERRORS_PASS)
    tables.add_policy()
    tables.install(kernel)
    for service in (2, 1023, 1024, 0xFFFFFFFF):
        decided = kernel.decide(Asked.of(), service=service, policy=1)
        assert (decided.allowed, decided.reason, decided.reply) == (False, LOOK_UP_FAILED, 0)
