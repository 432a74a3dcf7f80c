"""A decision in one line, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpfmesh.observe import Decision

_REASONS = {
    "by_default": "no rule denies it",
    "not_allowed": "no rule allows it",
    "bad_path": "the path cannot be normalised",
    "undecodable": "it cannot be followed",
    "look_up_failed": "a look-up failed in the kernel",
    "unjudged": "bytes that no program saw",
    "tunnels": "a tunnel, in which requests would pass unseen",
}
_CALLED = {"limited": "limit", "faulted": "fault"}


def line(decision: Decision) -> str:
    """``17:51:02.123456 denied checkout -> orders POST /admin: rule no-admin, 403``."""
    time = decision.at.strftime("%H:%M:%S.%f")
    word = decision.kind if decision.kind in ("unenrolled", "audited") else _word(decision)
    client = decision.workload or decision.client or "somebody"
    parts = [time, f"{word:10}", f"{client} -> {decision.service}"]
    if decision.method:
        parts.append(" ".join(filter(None, (plain(decision.method), _path(decision)))))
    text = " ".join(parts) + f": {_why(decision)}"
    if decision.status is not None:
        text += f", {decision.status}"
    if decision.retry_after is not None:
        text += f", again in {decision.retry_after:.3g} s"
    return text


def _word(decision: Decision) -> str:
    return "allowed" if decision.allowed else "denied"


def _path(decision: Decision) -> str:
    if decision.path is None:
        return ""
    return plain(decision.path) + ("…" if decision.path_cut else "")


def _why(decision: Decision) -> str:
    if decision.rule is not None:
        return f"{_CALLED.get(decision.reason, 'rule')} {decision.rule}"
    return _REASONS.get(decision.reason, decision.reason)


def plain(text: str) -> str:
    """Text of a request as one word that cannot steer a terminal."""
    return "".join(char if char.isascii() and char.isprintable() else f"\\x{ord(char):02x}" for char in text)
