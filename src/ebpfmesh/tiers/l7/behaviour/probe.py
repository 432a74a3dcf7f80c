"""What a behaviour probe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpfmesh.tiers.l7.behaviour.outcome import Ability

if TYPE_CHECKING:
    from ebpfmesh.tiers.l7.behaviour.site import Site


class UnlikeError(Exception):
    """What a probe saw is not what an ordinary socket does; the text says it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One behaviour: its ``name``, what it ``proves``, and ``run``, which does it once.

    ``run`` raises UnlikeError, or the OSError (TimeoutError) that an ordinary socket would not give. ``remedy`` is for
    people who read that it fails. ``disables`` is what depends on it. ``ordinary``: an ordinary socket can do it too, so
    that a failure counts only if one does it here.
    """

    name: str
    proves: str
    run: Callable[[Site], None]
    remedy: str
    disables: tuple[Ability, ...] = ()
    ordinary: bool = True


def expect(found: object, wanted: object, what: str) -> None:
    """UnlikeError unless ``found`` is ``wanted``; long bytes are named by their length."""
    if found != wanted:
        raise UnlikeError(f"{what}: {_short(found)} instead of {_short(wanted)}")


def _short(value: object) -> str:
    if isinstance(value, bytes | bytearray) and len(value) > 16:
        return f"{len(value)} bytes beginning with {bytes(value[:8])!r}"
    return repr(value)
