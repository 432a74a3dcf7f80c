"""Redis and DNS in the kernel: their vectors, at every split point; and that the verifier takes them everywhere."""

from __future__ import annotations

import pytest

from ebpfmesh import harness, l7

pytestmark = pytest.mark.kernel(feature="loop")

CORES = {"redis": "redis", "dns": "dns", "dns-tcp": "dns_tcp"}
BOUND = 200_000  # instructions that the verifier may have to walk


@pytest.mark.parametrize("name", CORES)
def test_the_vectors_hold_in_the_kernel_at_every_split_point(name: str) -> None:
    parser = l7.parser(name)
    with harness.load(CORES[name]) as kernel:
        assert l7.run_vectors(parser, engine=kernel) == l7.run_vectors(parser)


@pytest.mark.parametrize("core", CORES.values())
def test_the_verifier_takes_it_in_each_kind_of_program(core: str) -> None:
    with harness.load(core) as kernel:
        cost = kernel.cost()
    assert set(cost) == {"tc", "sk_msg", "sk_skb"}
    assert max(cost.values()) < BOUND
