"""No core costs the verifier more than is committed in tests/parser_costs.toml, nor more than 200,000 instructions."""

from __future__ import annotations

import pytest

import parser_costs
from ebpfmesh.harness.objects import builtins


@pytest.mark.kernel(feature="loop")
def test_no_parser_costs_more_than_is_committed():
    there, then = parser_costs.committed()
    found = parser_costs.differences(
        parser_costs.measured(), then, same_machine=there == parser_costs.machine()
    )
    assert not found, f"{'; '.join(found)} (sudo .venv/bin/python tests/parser_costs.py --write)"


def test_every_core_that_is_built_in_has_its_figures():
    _, then = parser_costs.committed()
    assert sorted(then) == builtins()
    assert all(list(costs) == ["tc", "sk_msg", "sk_skb"] for costs in then.values())


def test_the_file_is_as_it_is_written():
    there, then = parser_costs.committed()
    assert parser_costs.FILE.read_text() == parser_costs.text(then, there)


def test_growth_a_drop_the_limit_and_missing_figures_are_found():
    then = {"a": {"tc": 1000}, "gone": {"tc": 1}}
    for cost, same_machine, message in (
        (1031, True, "a tc: 1,031 instructions, 1,000 are committed"),
        (969, True, "a tc: 969 instructions, less than the committed 1,000: keep it"),
        (200_001, False, "a tc: 200,001 instructions exceed the limit of 200,000"),
    ):
        found = parser_costs.differences(
            {"a": {"tc": cost}, "new": {"tc": 1}}, then, same_machine=same_machine
        )
        assert found == [message, "gone: is not built in any more", "new: has no committed figure"]
    assert parser_costs.differences({"a": {"tc": 150_000}}, {"a": {"tc": 1000}}, same_machine=False) == []
