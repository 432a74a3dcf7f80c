"""Decision: one entry of the kernel's log, with names in place of numbers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Literal, get_args

import msgspec

from ebpfmesh.observe.names import Names
from ebpfmesh.observe.wire import LOG_ENTRY
from ebpfmesh.policy.address import V4_MAPPED
from ebpfmesh.policy.wire import Protocol

Kind = Literal["sampled", "denied", "audited", "unenrolled", "undecodable"]
"""``enum l7_log_kind``, from 1 on."""
Reason = Literal[
    "not_decided", "by_rule", "by_default", "not_allowed", "bad_path", "limited", "faulted", "undecodable",
    "look_up_failed", "unjudged", "tunnels",
]  # fmt: skip
"""``enum l7_reason``, from 0 on."""
_KINDS: tuple[Kind, ...] = get_args(Kind)
_REASONS: tuple[Reason, ...] = get_args(Reason)
_PROTOCOLS = {int(one): one.name.lower() for one in Protocol}
_NANOSECONDS = 1_000_000_000


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about a request, or about a connection of which no request could be judged.

    A name that is given out no more is "#" and its number.
    """

    number: int
    """Counts the entries of the kernel's log, from 1 on; a number that is missing was not told, or not read in time."""
    at: datetime
    monotonic: int
    """The same in nanoseconds of CLOCK_MONOTONIC, as the kernel noted it."""
    kind: Kind
    allowed: bool
    reason: Reason
    service: str
    workload: str | None = None
    """Who asked; None: no workload of the configuration."""
    client: str | None = None
    """The client's address."""
    rule: str | None = None
    """The rule, limit or fault that decided; None: none did."""
    route: str | None = None
    backend: str | None = None
    status: int | None = None
    """Of the local reply; None: there was none."""
    retry_after: float | None = None
    """Seconds, of a limit."""
    protocol: str = ""
    method: str = ""
    host: str = ""
    """Its first 40 bytes."""
    path: str | None = None
    """As it was sent, without query, its first 80 bytes; None: the request had none."""
    path_length: int = 0
    traceparent: str | None = None
    cookie: int = 0
    """Of the client's socket."""
    stream: int = 0
    """HTTP/2: the stream; HTTP/1: the request's number on its connection."""
    policy: int = 0
    """The tables that decided, by number: of the source's policy, and of the list of rules that was gone through."""
    list: int = 0

    @property
    def path_cut(self) -> bool:
        """Whether ``path`` is only the beginning."""
        return self.path is not None and self.path_length > len(self.path.encode("latin-1"))


class Clock:
    """Turns CLOCK_MONOTONIC of this boot into wall-clock time."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def at(self, monotonic: int) -> datetime:
        """The UTC time of ``monotonic`` nanoseconds, to the microsecond."""
        seconds, rest = divmod(monotonic + self._offset, _NANOSECONDS)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def unpack(entry: bytes, names: Names, clock: Clock) -> Decision | None:
    """The entry in words; None if it was never written."""
    (
        sequence, when, cookie, stream, retry_after, service, backend, workload, policy, list_, rule, route, _limit,
        address, kind, allowed, reason, protocol, status, path_length, method, host, traceparent, path,
    ) = LOG_ENTRY.unpack(entry)  # fmt: skip
    if not sequence:
        return None
    return Decision(
        number=(sequence + 1) // 2,
        at=clock.at(when),
        monotonic=when,
        kind=_KINDS[kind - 1] if 0 < kind <= len(_KINDS) else "denied",
        allowed=bool(allowed),
        reason=_REASONS[reason] if reason < len(_REASONS) else "not_decided",
        service=names.service(service),
        workload=names.text("workload", workload),
        client=_address(address),
        rule=names.text("rule", rule),
        route=names.text("route", route),
        backend=names.backend(service, backend),
        status=status or None,
        retry_after=retry_after / _NANOSECONDS if retry_after else None,
        protocol=_PROTOCOLS.get(protocol, f"#{protocol}"),
        method=_text(method),
        host=_text(host),
        path=_text(path) if path_length else None,
        path_length=path_length,
        traceparent=_text(traceparent) or None,
        cookie=cookie,
        stream=stream,
        policy=policy,
        list=list_,
    )


def _address(packed: bytes) -> str | None:
    if packed == bytes(16):
        return None
    return str(ip_address(packed[12:] if packed.startswith(V4_MAPPED) else packed))


def _text(raw: bytes) -> str:
    """Bytes as they were sent, each one character: text of a request is of no certain encoding."""
    return raw.rstrip(b"\0").decode("latin-1")
