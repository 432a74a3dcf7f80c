"""The order in which a backend prefers the slots of a Maglev table: a permutation from its address, nothing else.

Source: the Maglev paper (NSDI 2016), section 3.4: ``permutation[j] = (offset + j * skip) mod size``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, repeat
from math import isqrt
from operator import mod

_ROUNDS = 4  # how often one slice may go round the table


def preference(identity: bytes, size: int) -> tuple[int, int]:
    """The (offset, skip) of a backend in a table of ``size`` slots, a prime: two halves of a BLAKE2b hash."""
    digest = blake2b(identity, digest_size=16, person=b"ebpfmesh-maglev").digest()
    return int.from_bytes(digest[:8]) % size, int.from_bytes(digest[8:]) % (size - 1) + 1


def preferred(offset: int, skip: int, size: int, expected: int = 0) -> Iterator[int]:
    """All slots, the most preferred first; about ``expected`` of them are going to be asked for."""
    known = beginning(offset, skip, size, min(expected, size)) if expected else []
    rest = range(offset + len(known) * skip, offset + size * skip, skip)
    return chain(known, map(mod, rest, repeat(size)))


def ranked(slots: Sequence[int], offset: int, skip: int, size: int) -> Iterator[int]:
    """Only these ``slots``, the most preferred first."""
    # A slot's rank is the j of slot = offset + j * skip mod size; size is prime, so skip has an inverse.
    inverse = pow(skip, -1, size)
    first = -offset * inverse
    ranks = [(slot * inverse + first) % size for slot in slots]
    ranks.sort()
    return map(mod, map(offset.__add__, map(skip.__mul__, ranks)), repeat(size))


def beginning(offset: int, skip: int, size: int, length: int) -> list[int]:
    """The first ``length`` slots of the permutation, at least 1 and at most ``size``.

    One modulo a slot would be most of the cost of a table. Instead, every ``step``-th slot is taken at once: as
    many ``skip``s that they come back to within a small ``stride`` of where they began are an arithmetic
    progression, which a slice of the slots in plain order copies in C.
    """
    step, stride = _step(skip, size, length)
    plain = _rounds(size)
    result = [0] * length
    # A falling progression starts in the last of the rounds, a rising one in the first.
    base = _ROUNDS * size if stride < 0 else 0
    start = offset
    for first in range(min(step, length)):
        begin = base + start
        end = begin + ((length - first + step - 1) // step) * stride
        result[first::step] = plain[begin : end if end >= 0 else None : stride]
        start = (start + skip) % size
    return result


def _step(skip: int, size: int, length: int) -> tuple[int, int]:
    # The denominators of the continued fraction of skip/size are the numbers of skips that end nearest to a whole number of
    # rounds (Dirichlet). The largest up to the root of the length makes as many slices as each has elements.
    before, stride, before_step, step, sign = size, skip, 0, 1, 1
    root = isqrt(length)
    while True:
        quotient = before // stride
        following = before_step + quotient * step
        if following > root:
            break
        before, stride, before_step, step, sign = stride, before - quotient * stride, step, following, -sign
        if stride == 1:
            break
    convergent = step
    while stride * (length // step + 1) > _ROUNDS * size:
        step += convergent
        stride = sign * step * skip % size
    return step, sign * stride


@lru_cache(maxsize=2)
def _rounds(size: int) -> list[int]:
    return list(range(size)) * (_ROUNDS + 1)
