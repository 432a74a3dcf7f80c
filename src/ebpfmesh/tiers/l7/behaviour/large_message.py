"""Messages beyond 100 KB, which panic some kernels: those are on a list, since a probe would be the panic."""

from __future__ import annotations

import platform
import re

from ebpfmesh.errors import NotSupportedError
from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise

CVE = "CVE-2025-38165"
FIXED = {(6, 1): 142, (6, 6): 94, (6, 12): 34, (6, 15): 3}
"""Of each stable series the first patch level with the fix; 6.16 and later have it."""

_SIZE = 300_000


def fixed(release: str, version: str = "") -> bool | None:
    """Whether a kernel of this ``release`` and ``version`` (uname -r, uname -v) has the fix of CVE-2025-38165.

    None for what cannot be told: a series that got no fix upstream may carry its distributor's, and a distributor's
    patch level (``6.8.0-60-generic``) says nothing of it. Debian tells the upstream one in its version.
    """
    number = r"(\d+)\.(\d+)(?:\.(\d+))?"
    found = re.search(rf"\bDebian {number}", version) or re.match(number, release)
    if not found:
        return None
    series, patch = (int(found[1]), int(found[2])), int(found[3] or 0)
    if series >= (6, 16):
        return True
    if series in FIXED and patch:
        return patch >= FIXED[series]
    return None


def _run(site: Site) -> None:
    release = platform.release()
    known = fixed(release, platform.version())
    if known is False:
        raise UnlikeError(f"not tried: {release} has {CVE}")
    if known is None:
        raise NotSupportedError(f"not tried: {release} does not say whether {CVE} is fixed")
    site.says(Verdict.FORWARDS)
    data = noise(_SIZE)
    with site.connection() as (client, server):
        for sender, reader in ((client, server), (server, client)):
            found, at = bytearray(), 0
            while len(found) < _SIZE:
                if at < _SIZE:
                    at += sender.send(data[at:])
                found += reader.recv(_SIZE)
            expect(bytes(found), data, "a message of 300,000 bytes")


PROBE = Probe(
    name="large_message",
    proves=f"messages beyond 100 KB pass both ways ({CVE} is looked up by the kernel's release, not tried)",
    run=_run,
    remedy="Linux 6.15.3, 6.12.34, 6.6.94 or 6.1.142, or a distributor's kernel with their fix",
    disables=("enrolment",),
    ordinary=False,
)
