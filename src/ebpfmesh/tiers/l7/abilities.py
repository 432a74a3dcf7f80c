"""What this kernel's sockets can bear, by the behaviour probes: measured once a boot, and left out what is not safe."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ebpfmesh.errors import NotSupportedError
from ebpfmesh.tiers.l7.wire import SettingFlag

if TYPE_CHECKING:
    from ebpfmesh.tiers.l7.behaviour import Behaviour

_FLAGS = {"local_reply": SettingFlag.NO_REPLIES, "swallow": SettingFlag.NO_SWALLOWING}

ATTEMPTS = 5
"""Times that one agent measures at most, where an answer is wanting: twice at its start, then with changes."""


def measured(file: Path) -> Behaviour:
    """The answers of the probes, from ``file`` if all were given under this boot; some 0.4 s if they were not.

    Errors: NotSupportedError where sockets must not be enrolled at all, with the reason.
    """
    from ebpfmesh.tiers.l7 import behaviour

    found = behaviour.remembered(file)
    if found is None or not found.conclusive:
        found = behaviour.measure()
        with suppress(OSError):  # then the next start measures again, and status cannot say why
            behaviour.remember(file, found)
    if "enrolment" in found.disabled:
        bad = next(one for one in found.failing if "enrolment" in one.disables)
        raise NotSupportedError(
            f"sockets of services with l7 cannot be followed on this kernel: {bad.proves}: {bad.text}",
            where=f"probe {bad.name}",
            remedy=bad.remedy or "leave l7 out of the services: connections are balanced all the same",
        )
    return found


def refused(found: Behaviour) -> int:
    """``flags`` of ``struct l7_settings``: what must not be used here."""
    flags = SettingFlag(0)
    for ability in found.disabled:
        flags |= _FLAGS.get(ability, SettingFlag(0))
    return int(flags)


def notices(found: Behaviour, before: Behaviour | None) -> list[str]:
    """What is left out now, and why, for people; and what no longer is, of what was ``before``."""
    said = []
    for ability, reason in found.reasons.items():
        if before is None or before.reasons.get(ability) != reason:
            said.append(f"{ability} is left out here, refusals are EACCES at send(): {reason}")
    if before is not None:
        said += [f"{ability} is used from now on" for ability in sorted(before.disabled - found.disabled)]
    if found.tentative:
        said.append("the probes are made again by a later change of the configuration, and by the next start")
    return said


def left_out(flags: int) -> list[str]:
    """The abilities that ``flags`` say are not used here."""
    return [ability for ability, flag in _FLAGS.items() if flags & flag]
