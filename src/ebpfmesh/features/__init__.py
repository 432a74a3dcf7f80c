"""What bpf(2) can do here: probes by doing the thing, never version comparisons.

    features.supported("tcx")          True only if a probe did it
    features.require("sockmap_link")   NotSupportedError, with the version that has it
    features.probe("ktls")             State(supported=False, reason="the kernel has no ULP named tls: ...")
    features.every()                   each Feature, for `ebpfmesh doctor`

A probe runs once in a process, attaches only in a throw-away cgroup or network namespace, and answers True,
False, or None where it could not tell (a capability is missing, no cgroup can be made).
"""

from __future__ import annotations

from functools import cache

from ebpfmesh.errors import NotSupportedError
from ebpfmesh.features.feature import Feature, State

__all__ = ["Feature", "State", "every", "feature", "probe", "require", "supported"]


def every() -> tuple[Feature, ...]:
    """Each feature that can be probed, by group."""
    return tuple(_registry().values())


def feature(name: str) -> Feature:
    """The feature called ``name``. Errors: ValueError if there is none, a mistake of the caller."""
    try:
        return _registry()[name]
    except KeyError:
        raise ValueError(f"no feature is called {name!r}; there are {', '.join(_registry())}") from None


@cache
def probe(name: str) -> State:
    """The answer of the probe of ``name``, made at the first call. Needs what the probe's subject needs, mostly root."""
    return feature(name).probe()


def supported(name: str) -> bool:
    """Whether a probe found ``name`` here; False also where it could not tell."""
    return probe(name).supported is True


def require(name: str, *, what: str = "", remedy: str = "") -> None:
    """Do nothing if ``name`` is here. Errors: NotSupportedError with the version that has it, and ``remedy``."""
    state = probe(name)
    if state.supported is True:
        return
    wanted = feature(name)
    doubt = "is missing" if state.supported is False else "could not be confirmed"
    since = f"Linux {wanted.minimum} and later have it"
    raise NotSupportedError(
        f"{what or wanted.description}: kernel support {doubt} ({state.reason})",
        where=f"feature {name}",
        remedy=f"{since}; {remedy}" if remedy else since,
    )


@cache
def _registry() -> dict[str, Feature]:
    from ebpfmesh.features import attaching, maps, programs, sockets

    groups = (attaching.FEATURES, maps.FEATURES, programs.FEATURES, sockets.FEATURES)
    return {one.name: one for group in groups for one in group}
