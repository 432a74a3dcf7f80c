"""Making a probe: its answer as an `Outcome`, and the comparison with an ordinary socket where it fails."""

from __future__ import annotations

import time

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.tiers.l7.behaviour.outcome import Outcome, State
from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError
from ebpfmesh.tiers.l7.behaviour.site import Site


def make(probe: Probe, site: Site) -> Outcome:
    """Make ``probe``; if it fails and an ordinary socket fails here too, it is "unknown": the fault is elsewhere."""
    start = time.monotonic()
    state, text = _attempt(probe, site, ordinary=False)
    if state == "fails" and probe.ordinary:
        without, why = _attempt(probe, site, ordinary=True)
        if without != "ok":
            state, text = "unknown", f"an ordinary socket does not do it here either: {why}"
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
