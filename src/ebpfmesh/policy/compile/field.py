"""Which field of a parsed request a header is, and which names have to be registered for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.l7.contract import NAME_LENGTH, NAMES
from ebpfmesh.policy.wire import REGISTERED, Field

if TYPE_CHECKING:
    from ebpfmesh.policy.model import L7Protocol

_BOTH = {
    "host": Field.HOST,
    "content-length": Field.CONTENT_LENGTH,
    "content-type": Field.CONTENT_TYPE,
    "user-agent": Field.USER_AGENT,
    "traceparent": Field.TRACEPARENT,
    "authorization": Field.AUTHORIZATION,
}
_HTTP1 = {**_BOTH, "upgrade": Field.UPGRADE}
_HTTP2 = {**_BOTH, "grpc-timeout": Field.GRPC_TIMEOUT, "grpc-encoding": Field.GRPC_ENCODING}
_KNOWN: Mapping[str, Mapping[str, Field]] = {"http1": _HTTP1, "http2": _HTTP2, "grpc": _HTTP2}

NUMBERS = {Field.CONTENT_LENGTH, Field.AUTHORIZATION, Field.GRPC_TIMEOUT}
"""Fields whose text is not kept."""

# Read by the parser for the framing alone, or not allowed in the protocol at all.
_UNSEEN = {
    "http1": {"connection", "expect", "transfer-encoding"},
    "http2": {"connection", "expect", "te", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "grpc-status",
              "grpc-message"},
}  # fmt: skip
_UNSEEN["grpc"] = _UNSEEN["http2"]


class Fields:
    """The fields of one service's requests; names are registered as they are asked for."""

    def __init__(self, protocol: L7Protocol) -> None:
        self.protocol = protocol
        self._known, self._unseen = _KNOWN[protocol], _UNSEEN[protocol]
        self._names: dict[str, int] = {}

    def of(self, header: str, where: str, *, value: bool) -> int:
        """The number of a header's field; ``value`` says that more is asked than whether it came.

        ConfigError for a header that the parser tells nothing of; CapacityError for the ninth name that it does not know.
        """
        name = header.lower()
        if name in self._unseen:
            raise ConfigError(
                f"the header {name!r} of {self.protocol} cannot be asked for: it is the connection's, not the request's",
                where=where,
            )
        known = self._known.get(name)
        if known is not None:
            if value and known in NUMBERS:
                raise ConfigError(
                    f"the value of {name!r} is not kept as text",
                    where=where,
                    remedy="ask whether it is present; or let the service look at it",
                )
            return known
        if name not in self._names:
            self._register(name, where)
        return self._names[name]

    def _register(self, name: str, where: str) -> None:
        if not 0 < len(name.encode()) <= NAME_LENGTH:
            raise ConfigError(f"{name!r} is no header name of 1 to {NAME_LENGTH} characters", where=where)
        if len(self._names) == NAMES:
            asked = ", ".join([*self._names, name])
            raise CapacityError(
                f"the service asks for more than {NAMES} headers: {asked}",
                where=where,
                remedy="leave out one; content-type, user-agent and what else a parser knows do not count",
            )
        self._names[name] = REGISTERED + len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in the order of their fields."""
        return tuple(self._names)
