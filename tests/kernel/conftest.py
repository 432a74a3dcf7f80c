"""Fixtures of the kernel tests alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ebpfmesh.testing import NetNs, PrivateCgroup


@pytest.fixture
def site(
    request: pytest.FixtureRequest, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path
) -> Iterator[Any]:
    """Servers in a namespace, and a cgroup of clients: the ``SITE`` of the test's module.

    A module that names none tests the connect tier, and stands on connect_peers.Site.
    """
    from connect_peers import Site

    with getattr(request.module, "SITE", Site)(cgroup, netns, bpffs, tmp_path) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A run root of the test's own, in which an agent may mount a BPF file system."""
    from ebpfmesh.lowlevel.mount import mounts, unmount

    yield tmp_path / "run"
    for mount in mounts("bpf"):  # a test that failed must not leave our own bpffs
        if mount.point.is_relative_to(tmp_path):
            unmount(mount.point)


@pytest.fixture
def made(_leaks_fail: None) -> Iterator[list[int]]:
    """Descriptors to close at the end."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)
