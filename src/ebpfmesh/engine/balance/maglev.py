"""``maglev``: consistent hashing by a table that every node computes alike, from the backends' addresses alone.

Source: D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
For equal weights the table is exactly that of the paper's pseudo-code, with the backends in order of identity.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from ebpfmesh.engine.balance.apportion import apportion
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


def preference(identity: bytes, size: int) -> tuple[int, int]:
    """The (offset, skip) of a backend: it prefers the slots ``offset + j * skip mod size``, for j = 0, 1, …"""
    digest = blake2b(identity, digest_size=16, person=b"ebpfmesh-maglev").digest()
    return int.from_bytes(digest[:8]) % size, int.from_bytes(digest[8:]) % (size - 1) + 1


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


def fill(
    slots: array[int] | list[int],
    free: list[bool],
    turns: Sequence[int],
    backends: Sequence[tuple[bytes, int]],
) -> None:
    """Let each turn's backend, (identity, id), take the free slot it prefers most; both lists are changed in place.

    ``turns`` holds indices of ``backends``, at most as many as there are free slots. The walk along each
    backend's preferences is the paper's; only how it is computed differs, in two stages. While much is free, the
    preferences are generated and the taken ones filtered out, all in C. When that would mostly meet taken slots, the
    slots still free are put in each backend's order by their rank in its preferences.
    """
    size = len(slots)
    preferences = [preference(identity, size) for identity, _ in backends]
    ids = [id_ for _, id_ in backends]
    # Walking costs about size/free steps for a slot, ranking about one step a free slot and backend; this
    # is where the sums of both are least.
    last = min(sum(free), size // (2 * len(backends)) + 1)
    split = max(0, sum(free) - last)
    is_free = free.__getitem__
    walks: list[Iterator[int]] = [
        filter(is_free, map(size.__rmod__, range(offset, offset + size * skip, skip)))
        for offset, skip in preferences
    ]
    _take(slots, free, turns[:split], walks, ids)
    if len(turns) > split:
        left = [slot for slot, unused in enumerate(free) if unused]
        walks = [filter(is_free, _ranked(left, offset, skip, size)) for offset, skip in preferences]
        _take(slots, free, turns[split:], walks, ids)


def _take(
    slots: array[int] | list[int],
    free: list[bool],
    turns: Sequence[int],
    walks: Sequence[Iterator[int]],
    ids: Sequence[int],
) -> None:
    steps = [(walk.__next__, id_) for walk, id_ in zip(walks, ids, strict=True)]
    for take, id_ in map(steps.__getitem__, turns):
        slot = take()
        free[slot] = False
        slots[slot] = id_


def _ranked(slots: Sequence[int], offset: int, skip: int, size: int) -> Iterator[int]:
    # A slot's rank in the preferences is the j of slot = offset + j * skip mod size; size is prime, so skip has an inverse.
    inverse = pow(skip, -1, size)
    first = -offset * inverse
    ranks = [(slot * inverse + first) % size for slot in slots]
    ranks.sort()
    return map(size.__rmod__, [offset + rank * skip for rank in ranks])


@lru_cache(maxsize=_CACHED_TABLES)
def _table(active: tuple[Target, ...], size: int) -> bytes:
    slots = array("H", bytes(2 * size))
    shares = apportion(size, [target.weight for target in active])
    backends = [(target.identity, target.id) for target in active]
    fill(slots, [True] * size, order_of_turns(shares), backends)
    return slots.tobytes()


def _identity(target: Target) -> tuple[bytes, int]:
    return target.identity, target.id


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
