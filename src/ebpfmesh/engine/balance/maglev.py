"""``maglev``: consistent hashing by a table that every node computes alike, from the backends' addresses alone.

Source: D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
For equal weights the table is exactly that of the paper's pseudo-code, with the backends in order of identity.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import filterfalse, repeat
from math import log
from operator import setitem

from ebpfmesh.engine.balance.apportion import apportion
from ebpfmesh.engine.balance.preference import preference, preferred, ranked
from ebpfmesh.engine.balance.table import Pick, Table, Target, empty

SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537)
"""Table sizes that are chosen from: primes, each just below twice the one before; the last just above 2**16."""

LARGEST = SIZES[-1]

_CACHED_TABLES = 64  # 2 MB at 16381 slots


class Maglev:
    """A slot by hash, from a table in which each backend has its share of the slots, to within one slot."""

    name = "maglev"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The table of the targets with a weight above 0; ``size`` slots, or as many as the number of targets asks for.

        ``previous`` is not used: the same targets give the same table on every node and after every restart.
        A ``size`` that is not a prime of at most 65537 raises ValueError.
        """
        del previous
        active = tuple(sorted([target for target in targets if target[1]], key=_identity))
        if not active:
            return empty()
        if size is None:
            size = table_size(len(targets))
        elif reason := refuse_size(len(targets), size):
            raise ValueError(reason)
        return Table(array("H", _table(active, size)), Pick.HASH, size)

    def slots(self, weights: Sequence[int], size: int | None) -> int:
        """How many 16-bit words `build` makes for these weights."""
        return (size or table_size(len(weights))) if any(weights) else 0

    def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
        """Why a table of ``size`` cannot be made, or None."""
        return None if size is None else refuse_size(len(weights), size)

    def notice(self, weights: Sequence[int], size: int | None) -> str | None:
        """What an operator should know about this table, or None."""
        slots = size or table_size(len(weights))
        if slots > 100 * len(weights):
            return None
        return (
            f"{slots} slots for {len(weights)} backends: with 100 slots a backend or fewer, shares that should be "
            f"equal differ by more than 1 %"
        )


def table_size(backends: int) -> int:
    """The smallest of `SIZES` above 100 slots a backend (paper, section 5.3), else the largest."""
    return next((size for size in SIZES if size > 100 * backends), LARGEST)


def refuse_size(backends: int, size: int) -> str | None:
    """Why a table of ``size`` slots cannot serve ``backends``, or None: it is a prime of at most 65537, and not smaller."""
    if not 3 <= size <= LARGEST or not _is_prime(size):
        return f"a Maglev table has a prime number of slots up to {LARGEST}, and {size} is not one"
    if size < backends:
        return f"a table of {size} slots cannot hold {backends} backends"
    return None


def order_of_turns(shares: Sequence[int]) -> list[int]:
    """Whose turn it is to take a slot: index i occurs shares[i] times, at even distances.

    A round is one turn for each, as in the paper; one with a smaller share sits out rounds at even distances.
    """
    number, most = len(shares), max(shares)
    if min(shares) >= most - 1:
        return [*range(number)] * (most - 1) + [index for index, share in enumerate(shares) if share == most]
    moments: list[int] = []
    for index, share in enumerate(shares):
        moments += [turn * most // share * number + index for turn in range(share)]
    moments.sort()
    return [moment % number for moment in moments]


def fill(slots: list[int], shares: Sequence[int], backends: Sequence[tuple[bytes, int]]) -> None:
    """Let each backend, (identity, id), take its share of the free slots, in turns, each time the one it prefers most.

    A free slot holds 0, and ``slots`` is changed in place; ``shares`` are positive and at most as many as there
    are free slots. The walk along each backend's preferences is the paper's; only how it is computed differs, in two
    stages. While much is free, the preferences are generated and the taken ones filtered out, all in C. When that would
    mostly meet taken slots, the slots still free are put in each backend's order by their rank in it.
    """
    size, unused = len(slots), slots.count(0)
    turns = order_of_turns(shares)
    preferences = [preference(identity, size) for identity, _ in backends]
    ids = [id_ for _, id_ in backends]
    # Walking costs size/free steps for a slot, ranking one step for a free slot and backend, ten times as dear.
    last = size // (10 * len(backends)) + 1
    split = max(0, unused - last)
    if split:
        # The expected length of a walk is the sum of size/free over the turns, a harmonic sum.
        length = 1.1 * size * log(unused / last) / unused
        walks = [
            preferred(offset, skip, size, round(share * length) + 8)
            for (offset, skip), share in zip(preferences, shares, strict=True)
        ]
        _take(slots, turns[:split], walks, ids)
    if len(turns) > split:
        left = [slot for slot, id_ in enumerate(slots) if not id_]
        walks = [ranked(left, offset, skip, size) for offset, skip in preferences]
        _take(slots, turns[split:], walks, ids)


def _take(slots: list[int], turns: Sequence[int], walks: Sequence[Iterator[int]], ids: Sequence[int]) -> None:
    walks = [filterfalse(slots.__getitem__, walk) for walk in walks]
    taken = map(next, map(walks.__getitem__, turns))
    # One turn after the other: the next one's walk passes over the slot that this one takes.
    deque(map(setitem, repeat(slots), taken, map(ids.__getitem__, turns)), maxlen=0)


@lru_cache(maxsize=_CACHED_TABLES)
def _table(active: tuple[Target, ...], size: int) -> bytes:
    slots = [0] * size
    shares = apportion(size, [target.weight for target in active])
    # Beside a weight of 65535, one of 1 may have no share at all.
    backends = [(target.identity, target.id) for target, share in zip(active, shares, strict=True) if share]
    fill(slots, [share for share in shares if share], backends)
    return array("H", slots).tobytes()


def _identity(target: Target) -> tuple[bytes, int]:
    return target.identity, target.id


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
