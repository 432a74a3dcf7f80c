"""What is wrong with how many requests, or records, a limit or a log lets through."""

from __future__ import annotations

from collections.abc import Iterator

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.log import Log

MOST_BURST = 1_000_000


def allowance_problems(one: Limit | Log, where: str) -> Iterator[ConfigError]:
    """What is wrong with a rate and a burst."""
    try:
        _ = one.per
    except ConfigError as error:
        yield ConfigError(error.what, where=f"{where}.rate", remedy=error.remedy)
    else:
        if not 1 <= one.tokens <= MOST_BURST:
            yield ConfigError(
                f"{one.tokens} requests at once"
                + (", the number in rate," if one.burst is None else "")
                + " is no burst",
                where=f"{where}.burst",
                remedy=f"1 to {MOST_BURST}",
            )
