"""Dividing a number of slots by weight: the largest-remainder rule, exact within one slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def apportion(total: int, weights: Sequence[int], *, first: Iterable[int] | None = None) -> list[int]:
    """Divide ``total`` slots over ``weights``, each share the floor or the ceiling of the exact one.

    The slots that the floors leave go to the largest remainders, equal ones in order. ``first`` names the
    indices that are asked before all others, in that order: a table that is kept wants its slots back.
    ``weights`` are positive integers; an empty sequence gives an empty list.
    """
    weight_sum = sum(weights)
    if not weight_sum:
        return [0] * len(weights)
    shares = [total * weight // weight_sum for weight in weights]
    left = total - sum(shares)
    if not left:
        return shares
    # total * weight - share * weight_sum is the remainder, in units of 1/weight_sum; it is never compared as a float.
    remainders = [total * weight - share * weight_sum for weight, share in zip(weights, shares, strict=True)]
    preferred = [index for index in first or () if remainders[index]]
    chosen = preferred[:left]
    if len(chosen) < left:
        taken = set(chosen)
        rest = [index for index in range(len(weights)) if index not in taken]
        rest.sort(key=remainders.__getitem__, reverse=True)  # stable: equal remainders stay in order
        chosen += rest[: left - len(chosen)]
    for index in chosen:
        shares[index] += 1
    return shares
