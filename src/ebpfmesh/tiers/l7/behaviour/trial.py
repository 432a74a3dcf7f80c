"""Making a probe: its answer as an `Outcome`, and the comparison with an ordinary socket where it fails.

What fails after waiting may fail because the machine is slow: emulated, or starved by others. Then it is made again with
more patience, and has to be as it should every time: a kernel that forgets to wake somebody now and then must not get by.
"""

from __future__ import annotations

import time

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.tiers.l7.behaviour.outcome import Outcome, State
from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError
from ebpfmesh.tiers.l7.behaviour.site import Site, more_patience, patience

PATIENT = 8.0
"""Times as long as at first may everything take when a probe is made again."""
AGAIN = 3
"""Times that it must then be as it should, one after the other."""


def make(probe: Probe, site: Site) -> Outcome:
    """Make ``probe``, again with more patience if a wait may have been too short.

    If it fails and an ordinary socket fails here too, it is "unknown": the fault is elsewhere.
    """
    start = time.monotonic()
    state, text = _compared(probe, site)
    waited = time.monotonic() - start >= patience() / 4  # the shortest wait
    if state == "unknown" or (state == "fails" and waited):
        with more_patience(PATIENT):
            for _ in range(AGAIN):
                state, text = _compared(probe, site)
                if state != "ok":
                    break
    return Outcome(
        name=probe.name,
        proves=probe.proves,
        state=state,
        text=text,
        remedy="" if state == "ok" else probe.remedy,
        disables=probe.disables,
        seconds=round(time.monotonic() - start, 4),
    )


def not_made(probe: Probe, state: State, text: str) -> Outcome:
    """The outcome of a probe that did not come to an end, or was not begun."""
    return Outcome(probe.name, probe.proves, state, text, probe.remedy, probe.disables)


def _compared(probe: Probe, site: Site) -> tuple[State, str]:
    state, text = _attempt(probe, site, ordinary=False)
    if state == "fails" and probe.ordinary:
        without, why = _attempt(probe, site, ordinary=True)
        if without != "ok":
            return "unknown", f"an ordinary socket does not do it here either: {why}"
    return state, text


def _attempt(probe: Probe, site: Site, *, ordinary: bool) -> tuple[State, str]:
    site.ordinary = ordinary
    try:
        probe.run(site)
    except UnlikeError as error:
        return "fails", str(error)
    except OSError as error:  # an EbpfMeshError may be one, of a missing capability
        if isinstance(error, EbpfMeshError):
            return "unknown", str(error)
        return "fails", f"{type(error).__name__}: {error}"
    except EbpfMeshError as error:
        return "unknown", str(error)
    finally:
        site.ordinary = False
    return "ok", ""
