"""Fixtures of every test, and what the ``kernel`` marker means."""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from ebpfmesh.errors import HostError
from ebpfmesh.testing import NetNs, PrivateCgroup, compile_bpf, private_bpffs, private_cgroup, private_netns
from ebpfmesh.testing.cgroup import remove_stale
from ebpfmesh.testing.leaks import no_leaks

if TYPE_CHECKING:
    from ebpfmesh.objects import Objects

REQUIRED = os.environ.get("EBPFMESH_REQUIRE_KERNEL") == "1"
EXPECTED_ABSENT = {
    entry["feature"]
    for entry in tomllib.loads((Path(__file__).parent / "kernel_features.toml").read_text()).get("absent", [])
    if platform.release().startswith(entry["kernel"])
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A kernel test without root or its feature is skipped; where the kernel is required, it fails."""
    for marker in item.iter_markers("kernel"):
        if os.geteuid() != 0:
            _absent("needs root")
        feature = marker.kwargs.get("feature") or (marker.args[0] if marker.args else None)
        if feature is None:
            continue
        from ebpfmesh import features

        state = features.probe(feature)
        if state.supported is not True:
            expected = feature in EXPECTED_ABSENT and state.supported is False
            _absent(f"this kernel lacks {feature}: {state.reason}", expected=expected)


def _absent(reason: str, *, expected: bool = False) -> None:
    if REQUIRED and not expected:
        pytest.fail(f"{reason}, and EBPFMESH_REQUIRE_KERNEL=1", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the kernel is required, a kernel test fails too that says itself what "this kernel" lacks: it is not listed."""
    report = yield
    if (
        REQUIRED
        and report.skipped
        and item.get_closest_marker("kernel")
        and isinstance(report.longrepr, tuple)
    ):
        file, _, reason = report.longrepr
        if "this kernel" in reason and not file.endswith("conftest.py"):
            report.outcome, report.longrepr = "failed", f"{reason}, and EBPFMESH_REQUIRE_KERNEL=1"
    return report


def pytest_sessionstart() -> None:
    """A killed run leaves its cgroups behind: they would be counted for ever."""
    if os.geteuid() == 0:
        with suppress(HostError):
            remove_stale()


@pytest.fixture(autouse=True)
def logs_as_the_library_leaves_them() -> Iterator[None]:
    """The command line configures structlog for its process; a test that runs it here must not configure the next test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _leaks_fail(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a kernel test leaves behind is its failure."""
    if request.node.get_closest_marker("kernel") is None:
        yield
        return
    with no_leaks():
        yield


@pytest.fixture
def cgroup(_leaks_fail: None) -> Iterator[PrivateCgroup]:
    """A cgroup of this test alone."""
    with private_cgroup() as made:
        yield made


@pytest.fixture
def netns(_leaks_fail: None) -> Iterator[NetNs]:
    """A network namespace of this test alone, ``lo`` up."""
    with private_netns() as made:
        yield made


@pytest.fixture
def netns_b(_leaks_fail: None) -> Iterator[NetNs]:
    """A second network namespace, for a veth pair or for addresses that occur twice."""
    with private_netns() as made:
        yield made


@pytest.fixture
def bpffs(_leaks_fail: None) -> Iterator[Path]:
    """The directory of a BPF file system of this test alone."""
    with private_bpffs() as made:
        yield made


@pytest.fixture
def load(_leaks_fail: None) -> Iterator[Callable[..., Objects]]:
    """load(C text, **options): its programs and maps, closed at the end; options are those of objects.load()."""
    from ebpfmesh import objects
    from ebpfmesh.spec import ObjectSpec

    with ExitStack() as loaded:

        def make(source: str, **options: Any) -> Objects:
            return loaded.enter_context(
                objects.load(ObjectSpec.from_bytes(compile_bpf(source), name="test"), **options)
            )

        yield make
