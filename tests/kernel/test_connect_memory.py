"""The offline estimate of kernel memory, that `check` holds against the budget, beside what the kernel accounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpfmesh.errors import CapacityError
from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Capacity, Config, Service
from ebpfmesh.testing import PrivateCgroup
from ebpfmesh.tiers.connect.memory import check_budget

pytestmark = pytest.mark.kernel


def model(count: int) -> tuple[Service, ...]:
    """Services that fill a map of their number: one address and one backend each."""
    return tuple(
        Service(
            f"service-{number}",
            "tcp",
            (f"10.96.{number >> 8}.{number & 255}:80",),
            (f"10.0.{number >> 8}.{number & 255}:80",),
        )
        for number in range(1, count + 1)
    )


@pytest.mark.parametrize("count", [256, 4096])
def test_the_estimate_is_not_below_what_full_maps_take_and_not_twice_it(
    count: int, cgroup: PrivateCgroup, bpffs: Path, tmp_path: Path
) -> None:
    room = Capacity(services=count, addresses=count, backends=count, slots=4 * count, udp_flows=count)
    config = Config("memory", str(cgroup.path), model(count), capacity=room)
    estimate = check_budget(config)
    with Mesh(config, run_root=tmp_path / "run", bpffs=bpffs) as mesh:
        accounted = mesh.status().memory
    assert accounted <= estimate * 1.02
    assert estimate <= 2 * accounted


def test_a_budget_below_the_estimate_is_refused_before_anything_is_made(
    cgroup: PrivateCgroup, bpffs: Path, tmp_path: Path
) -> None:
    config = Config("memory", str(cgroup.path), model(256), memory_budget="1MiB")
    with pytest.raises(
        CapacityError, match=r"\$\.memory_budget: the maps would take .* MiB, the budget is 1\.0 MiB"
    ):
        Mesh(config, run_root=tmp_path / "run", bpffs=bpffs).start()
    assert not (tmp_path / "run").exists()
