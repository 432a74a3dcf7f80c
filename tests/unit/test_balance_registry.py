"""Balancers by name: registered, installed, refused; and what a wrong one may not do."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ebpfmesh.engine.balance import Pick, Table, Target, balancer, build, get, names, registry
from ebpfmesh.errors import ConfigError

TWO = [Target(7, 1, b"a" * 18), Target(9, 0, b"b" * 18)]


@pytest.fixture(autouse=True)
def _registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(registry, "_failed", {})
    monkeypatch.delenv("EBPFMESH_DISABLE_PLUGINS", raising=False)


class Returns:
    """A balancer that returns what it was made with."""

    def __init__(self, name: str, result: Any) -> None:
        self.name, self.result = name, result

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """Whatever it is, or raise it."""
        del targets, previous, size
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[no-any-return]


def table(slots: list[int], pick: Any = Pick.RANDOM, count: int | None = None) -> Table:
    return Table(array("H", slots), pick, len(slots) if count is None else count)


def test_a_registered_class_is_found_by_its_name() -> None:
    @balancer
    class First:
        name = "first"

        def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
            del previous, size
            return Table(array("H", [targets[0].id]), Pick.RANDOM, 1)

    assert "first" in names()
    assert isinstance(get("first"), First)
    assert list(build("first", TWO).slots) == [7]
    assert registry.slots("first", [1, 1], None) == 1  # it says nothing itself, so one is built
    assert registry.refusal("first", [1], 251) is None
    assert registry.notice("first", [1], None) is None


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no balancer 'magelv' \(there are: maglev, maglev-sticky, random"):
        get("magelv")


def test_the_name_of_a_built_in_balancer_cannot_be_taken() -> None:
    with pytest.raises(ConfigError, match="'maglev': the name is that of a built-in"):
        balancer(lambda: Returns("maglev", None))


@pytest.mark.parametrize("made", [object(), Returns("", None), type("NoBuild", (), {"name": "x"})()])
def test_what_has_no_name_or_no_build_is_refused(made: Any) -> None:
    with pytest.raises(ConfigError, match="lacks a name or a build method"):
        balancer(lambda: made)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "it returned NoneType instead of a Table"),
        (Table([7], Pick.RANDOM, 1), "its slots are not array"),  # type: ignore[arg-type]
        (Table(array("I", [7]), Pick.RANDOM, 1), "its slots are not array"),
        (table([], Pick.NONE), "it picks by <Pick.NONE: 0>"),
        (table([7], 9), "it picks by 9"),
        (table([], Pick.RANDOM), "its count is 0"),
        (table([7], count=2), "its count is 2, its slots hold 1 words"),
        (table([7], count=-1), "its count is -1"),
        (table([7, 7, 0, 0, 7], Pick.ALIAS, 1), "its count is 1, its slots hold 5 words of 4 a pick"),
        (table([7] * 65538), "it has 65538 slots, and a table has at most 65537"),
        (table([7, 9]), "its slots hold id 9, which is no target that takes connections"),
        (table([7, 8]), "its slots hold id 8"),
        (table([7, 0]), "its slots hold id 0"),
        (table([7, 3, 0, 0], Pick.ALIAS, 1), "its slots hold id 3"),
        (ZeroDivisionError("division by zero"), "it failed with ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_balancer(result: Any, reason: str) -> None:
    balancer(lambda: Returns("wrong", result))
    with pytest.raises(ConfigError) as error:
        build("wrong", TWO)
    assert str(error.value).startswith(f"balancer 'wrong': {reason}")


def test_slots_for_nobody_are_a_wrong_table() -> None:
    balancer(lambda: Returns("eager", table([9])))
    with pytest.raises(
        ConfigError, match="balancer 'eager': it has slots although no target takes connections"
    ):
        build("eager", TWO[1:])


def test_every_slot_of_an_alias_column_is_checked_but_not_its_threshold() -> None:
    balancer(lambda: Returns("alias", table([7, 7, 12345, 0], Pick.ALIAS, 1)))
    assert build("alias", TWO).count == 1


def test_a_question_that_fails_names_the_balancer() -> None:
    class Asked(Returns):
        def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
            raise IndexError("list index out of range")

    balancer(lambda: Asked("asked", None))
    with pytest.raises(ConfigError, match="balancer 'asked': it failed with IndexError"):
        registry.refusal("asked", [], None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with three entry points: a good one, one that cannot be imported, one of another name."""
    (tmp_path / "acme_balancers.py").write_text(
        "from array import array\n"
        "from ebpfmesh.engine.balance import Pick, Table\n"
        "class Last:\n"
        "    name = 'acme-last'\n"
        "    def build(self, targets, previous, *, size):\n"
        "        return Table(array('H', [targets[0].id]), Pick.RANDOM, 1)\n"
        "class Misnamed(Last):\n"
        "    name = 'acme-else'\n"
    )
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('no licence')\n")
    info = tmp_path / "acme_balancers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-balancers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ebpfmesh.balancers]\n"
        "acme-last = acme_balancers:Last\n"
        "acme-broken = acme_broken:Broken\n"
        "acme-misnamed = acme_balancers:Misnamed\n"
        "maglev = acme_broken:Broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in ("acme_balancers", "acme_broken"):
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("package")
def test_a_balancer_of_a_package_is_loaded_when_it_is_asked_for() -> None:
    assert {"acme-last", "acme-broken"} <= set(names())
    assert "acme_balancers" not in sys.modules
    assert list(build("acme-last", TWO).slots) == [7]


@pytest.mark.usefixtures("package")
def test_a_package_that_fails_is_named_and_the_others_work() -> None:
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"balancer 'acme-broken': its package failed to load: .*no licence"
        ):
            get("acme-broken")
    assert "RuntimeError" in registry.failures()["acme-broken"]
    assert get("acme-last").name == "acme-last"
    with pytest.raises(ConfigError, match="its name is 'acme-else', its entry point says 'acme-misnamed'"):
        get("acme-misnamed")
    with pytest.raises(ConfigError, match="no balancer 'acme-else'"):
        get("acme-else")


@pytest.mark.usefixtures("package")
def test_a_package_cannot_replace_a_built_in_balancer() -> None:
    assert type(get("maglev")).__module__ == "ebpfmesh.engine.balance.maglev"
    assert registry.failures() == {}


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("value", "left"), [("1", False), ("all", False), ("acme-last, x", False), ("x", True)]
)
def test_packages_are_disabled_by_the_environment(
    value: str, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBPFMESH_DISABLE_PLUGINS", value)
    assert ("acme-last" in names()) is left
    if not left:
        with pytest.raises(ConfigError, match="no balancer 'acme-last'"):
            get("acme-last")


def test_ten_thousand_small_tables_take_a_tenth_of_a_second() -> None:
    targets = [Target(n, 1, n.to_bytes(18)) for n in range(1, 11)]
    for name in ("random", "round-robin"):
        best = min(_seconds(name, targets) for _ in range(5))
        # 100 ms for 10,000 is the bar, measured by the bench; twice that here, where other work may be going on.
        assert best < 0.02


def _seconds(name: str, targets: list[Target]) -> float:
    start = time.process_time()
    for _ in range(1000):
        build(name, targets)
    return time.process_time() - start
