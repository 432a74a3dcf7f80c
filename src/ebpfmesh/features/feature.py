"""What a feature is, and what a probe of it can answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class State(NamedTuple):
    """A probe's answer: True or False if it is conclusive, None if it could not be told, and the reason in a sentence."""

    supported: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a kernel has or lacks.

    `commit` brought it, `minimum` is the first version with it ("5.7"), `probe` does the thing and says
    whether it worked. The version is for messages and for the test of the probes; nothing decides by it.
    """

    name: str
    description: str
    commit: str
    minimum: str
    probe: Callable[[], State]


HERE = State(True, "it worked")
