"""Fixtures of the kernel tests alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from connect_peers import Site

    from ebpfmesh.testing import NetNs, PrivateCgroup


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Site]:
    """Servers in a namespace, and a cgroup of clients, for the connect tier; see connect_peers.Site."""
    from connect_peers import Site

    with Site(cgroup, netns, bpffs, tmp_path / "run") as made:
        yield made
