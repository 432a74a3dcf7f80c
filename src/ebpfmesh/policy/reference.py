"""What policy means: one request, decided by reading the model from top to bottom.

Nothing here knows of the kernel's tables. `ebpfmesh.policy.compile` makes them from the same model, and tests compare what
they say, and what the kernel says, with this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from ebpfmesh.identity import cgroup_path
from ebpfmesh.identity.workloads import Workloads, chosen
from ebpfmesh.policy import path as paths
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.path import BadPath
from ebpfmesh.policy.reply import Reply, standard
from ebpfmesh.policy.request_match import GrpcMatch, HeaderMatch, RequestMatch
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.policy.source import Source

PORT_DIGITS = 32
"""A host that ends with so many digits cannot be told from its port."""
METHOD, PATH, HOST, UPGRADE = ":method", ":path", "host", "upgrade"
"""What ``Request.repeated`` and ``Request.truncated`` call the parts that are no header, and two that are."""


class Reason(IntEnum):
    """Why: ``enum l7_reason``."""

    NOT_DECIDED = 0
    BY_RULE = 1
    """A denying or an allowing rule."""
    BY_DEFAULT = 2
    """No rule denied, and the service has none that allows."""
    NOT_ALLOWED = 3
    """The service has rules that allow, and none matched."""
    BAD_PATH = 4
    """The path cannot be normalised, and something in the service asks for paths."""
    LIMITED = 5
    FAULTED = 6
    UNDECODABLE = 7
    LOOK_UP_FAILED = 8
    UNJUDGED = 9
    TUNNELS = 10
    """What it asks for, CONNECT or an upgrade, would carry others past the rules."""


class Client(msgspec.Struct, frozen=True):
    """Where a request comes from."""

    cgroup: str = "/"
    """Of the process that opened the socket, written as the cgroup of a `Workload`."""
    address: str | None = None
    """The socket's own; None: not told, and no rule for addresses means it."""
    port: int | None = None
    """What it connected to, of the ports of the service; None: that of the first address."""


class Request(msgspec.Struct, frozen=True):
    """A request as the parser tells it."""

    method: bytes
    path: bytes | None = None
    """As sent, without query, scheme and authority; None for CONNECT, b"*" as it is."""
    host: bytes | None = None
    """The authority of the target, else Host."""
    headers: Mapping[str, bytes] = {}
    """The first value of each, by its name in lower case."""
    repeated: Collection[str] = ()
    """Names of headers that came more than once."""
    truncated: Collection[str] = ()
    """Names of headers that were cut; one that is not in ``headers`` either came, and nothing of it was kept."""
    scheme: bytes | None = None
    """Of a target in absolute form, which names a host beside the Host header; in HTTP/2 it says nothing."""
    upgrades: bool = False
    """Whether it is of HTTP/1.1 and Upgrade is an option of Connection and a header."""


Action = Literal["deny", "allow", "audit", "route", "limit", "fault"]


class Step(msgspec.Struct, frozen=True):
    """A rule, limit, fault or route that was looked at."""

    name: str
    action: Action
    matched: bool
    why: str

    def __str__(self) -> str:
        return f"{self.action} {self.name}: {self.why}"


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a request, and why."""

    allowed: bool
    reason: Reason
    rule: str | None = None
    """The name of the rule, limit or fault that decided."""
    matched: tuple[str, ...] = ()
    """Every name that matched, in the order in which they were looked at."""
    route: str | None = None
    audited: bool = False
    limits: tuple[str, ...] = ()
    """Those that take a token for it, in order; the last one refused it if the reason is LIMITED."""
    faults: tuple[str, ...] = ()
    """Those that match, whether or not they struck."""
    reply: Reply | None = None
    """What the client is told; None if the request is allowed, and at a service without ``l7``."""
    workload: str | None = None
    """Who the client is."""
    path: bytes | None = None
    """The normalised path, if there is one and it was asked for."""
    bad_path: BadPath | None = None
    why: tuple[Step, ...] = ()
    """What was looked at, in order."""


def decide(
    config: Config,
    service: Service,
    client: Client,
    request: Request | None = None,
    *,
    exhausted: Collection[str] = (),
    strikes: Callable[[Fault], bool] = lambda fault: fault.percentage >= 100,
) -> Verdict:
    """Decide a request to a service of a configuration that passed the check; without ``request``, a connection.

    ``exhausted`` names the limits that have no token left. ``strikes`` tells whether a fault that matches answers this
    request; unless given, only those of 100 % do. In this order: the path, rules that deny, rules that allow, audits,
    routes; then, of what is allowed, limits until one refuses, and faults until one strikes; each as the model lists them.
    What is left is refused if it opens a tunnel.
    """
    return _Decision(config, service, client, request).taken(exhausted, strikes)


def unreadable(config: Config, service: Service, client: Client) -> Verdict:
    """What becomes of bytes to a service with ``l7`` of which its parser makes no request."""
    return _Decision(config, service, client, None).unread()


Entry = TypeVar("Entry", Rule, Limit, Fault, Route)


class _Decision:
    def __init__(self, config: Config, service: Service, client: Client, request: Request | None) -> None:
        self.config, self.service, self.client = config, service, client
        self.request = _doubted(request) if service.l7 == "http1" else request
        self.workload = Workloads(config.workloads).at(client.cgroup)
        self.path, self.segments, self.bad_path = self._path()
        self.steps: list[Step] = []

    def unread(self) -> Verdict:
        """The verdict where there is nothing that rules could be asked about."""
        if self.service.http.undecodable == "pass":
            return self._verdict(True, Reason.UNDECODABLE)
        reply = self._reply(self.service.http.undecodable_reply, 400)
        return self._verdict(False, Reason.UNDECODABLE, reply=reply)

    def taken(self, exhausted: Collection[str], strikes: Callable[[Fault], bool]) -> Verdict:
        """The verdict, step by step."""
        if self.bad_path is not None:
            reply = self._reply(self.service.http.bad_path_reply, 400)
            return self._verdict(False, Reason.BAD_PATH, reply=reply)
        decided = self._authorised()
        audited = bool(list(self._matching("audit", self._rules("audit"))))
        route = next(self._matching("route", self.service.routes), None)
        if decided["allowed"]:
            decided |= self._limited(exhausted)
        if decided["allowed"]:
            decided |= self._faulted(strikes)
        if decided["allowed"] and self.service.http.undecodable != "pass" and self._tunnels():
            reply = self._reply(self.service.http.undecodable_reply, 400)
            decided |= {"allowed": False, "reason": Reason.TUNNELS, "rule": None, "reply": reply}
        return self._verdict(**decided, audited=audited, route=None if route is None else route.name)

    def _authorised(self) -> dict[str, Any]:
        default = self.service.http.default_reply
        for rule in self._matching("deny", self._rules("deny")):
            reply = self._reply(default if rule.reply is None else rule.reply, 403)
            return {"allowed": False, "reason": Reason.BY_RULE, "rule": rule.name, "reply": reply}
        allowing = self._rules("allow")
        for rule in self._matching("allow", allowing):
            return {"allowed": True, "reason": Reason.BY_RULE, "rule": rule.name}
        if allowing:
            return {"allowed": False, "reason": Reason.NOT_ALLOWED, "reply": self._reply(default, 403)}
        return {"allowed": True, "reason": Reason.BY_DEFAULT}

    def _limited(self, exhausted: Collection[str]) -> dict[str, Any]:
        asked: tuple[str, ...] = ()
        for limit in self._matching("limit", self.service.limits):
            asked += (limit.name,)
            if limit.name in exhausted:
                reply = self._reply(limit.reply, 429)
                denied = {"allowed": False, "reason": Reason.LIMITED, "rule": limit.name, "reply": reply}
                return {**denied, "limits": asked}
        return {"limits": asked}

    def _faulted(self, strikes: Callable[[Fault], bool]) -> dict[str, Any]:
        found: tuple[str, ...] = ()
        for fault in self._matching("fault", self.service.faults):
            found += (fault.name,)
            if strikes(fault):
                reply = self._reply(fault.reply, 503 if fault.status is None else fault.status)
                denied = {"allowed": False, "reason": Reason.FAULTED, "rule": fault.name, "reply": reply}
                return {**denied, "faults": found}
        return {"faults": found}

    def _tunnels(self) -> bool:
        """Whether what follows the request would be another protocol, in which requests pass unseen; WebSocket has none."""
        request = self.request
        if request is None or self.service.l7 is None:
            return False
        if METHOD not in request.truncated and request.method == b"CONNECT":
            return True
        if self.service.l7 != "http1" or not request.upgrades:
            return False
        if UPGRADE in request.repeated or UPGRADE in request.truncated:
            return True
        return request.headers.get(UPGRADE, b"").lower() != b"websocket"

    def _rules(self, action: Action) -> list[Rule]:
        return [rule for rule in self.service.rules if rule.action == action]

    def _reply(self, name: str | None, status: int) -> Reply | None:
        if self.service.l7 is None:
            return None  # connect() fails
        return standard(status) if name is None else {one.name: one for one in self.config.replies}[name]

    def _verdict(self, allowed: bool, reason: Reason, **told: Any) -> Verdict:
        return Verdict(
            allowed,
            reason,
            matched=tuple(step.name for step in self.steps if step.matched),
            workload=None if self.workload is None else self.workload.name,
            path=self.path,
            bad_path=self.bad_path,
            why=tuple(self.steps),
            **told,
        )

    def _matching(self, action: Action, those: Iterable[Entry]) -> Iterator[Entry]:
        """Those that match; each that was looked at is told in ``steps``."""
        for one in those:
            holds, why = self._holds(one)
            if holds is None:
                holds = _resolved(action, one)
                why += " cannot be told, and is taken as " + ("matching" if holds else "another")
            self.steps.append(Step(one.name, action, holds, why))
            if holds:
                yield one

    def _path(self) -> tuple[bytes | None, tuple[bytes, ...] | None, BadPath | None]:
        """The normalised path and its segments, or why there is none; nothing if nobody asks, or the request has none."""
        request, service = self.request, self.service
        every: list[RequestMatch] = [*service.rules, *service.limits, *service.faults, *service.routes]
        if request is None or not any(one.paths is not None or one.grpc is not None for one in every):
            return None, None, None
        if PATH in request.truncated:
            return None, None, BadPath.TOO_LONG
        if request.path is None or request.path == b"*":
            return None, None, None
        keep = service.http.path_parameters == "keep"
        found = paths.normalise(request.path, keep_parameters=keep)
        if isinstance(found, BadPath):
            return None, None, found
        return found.path, found.segments, None

    # --- whether something matches: True, False, or None if it cannot be told -------------------------------------------

    def _holds(self, one: Rule | Limit | Fault | Route) -> tuple[bool | None, str]:
        """Whether all that is asked holds. What is surely false decides, whatever else cannot be told."""
        unknown = ""
        for holds, what in self._asked(one):
            if holds is False:
                return False, f"{what} is another"
            if holds is None:
                unknown = unknown or what
        return (None, unknown) if unknown else (True, "matches")

    def _asked(self, one: Rule | Limit | Fault | Route) -> Iterator[tuple[bool | None, str]]:
        if isinstance(one, Rule) and one.port is not None:
            yield self._port() == one.port, "the port"
        if not isinstance(one, Route) and one.sources is not None:
            yield any(map(self._comes_from, one.sources)), "the source"
        if one.asks_request:
            yield from self._asked_of_request(one)

    def _asked_of_request(self, one: RequestMatch) -> Iterator[tuple[bool | None, str]]:
        request = self.request
        if request is None:
            yield False, "the request"
            return
        if one.methods is not None:
            yield _any(_method_is(request, method) for method in one.methods), "the method"
        if one.paths is not None:
            yield any(map(self._path_matches, one.paths)), "the path"
        if one.grpc is not None:
            yield any(map(self._is_call, one.grpc)), "the gRPC method"
        if one.hosts is not None:
            yield _any(_host_is(request, host) for host in one.hosts), "the host"
        for header in one.headers or ():
            yield _header_is(request, header), f"the header {header.name}"

    def _port(self) -> int | None:
        if self.client.port is not None:
            return self.client.port
        return next((endpoint.port for endpoint in self.service.endpoints), None)

    def _comes_from(self, source: Source) -> bool:
        if source.address is not None and not _is_in(self.client.address, source.address):
            return False
        if source.cgroup is not None and not cgroup_path.within(self.client.cgroup, source.cgroup):
            return False
        if source.workload is None and source.spiffe is None and source.labels is None:
            return True
        return self.workload is not None and chosen(
            self.workload, name=source.workload, selector=source.spiffe, labels=source.labels
        )

    def _path_matches(self, pattern: str) -> bool:
        return self.segments is not None and paths.parse(pattern).matches(self.segments)

    def _is_call(self, call: GrpcMatch) -> bool:
        request = self.request
        return request is not None and _method_is(request, "POST") is True and self._path_matches(call.path)


def _doubted(request: Request | None) -> Request | None:
    """As HTTP/1 has it: servers differ in whether the host of an absolute target counts, or the Host header."""
    if request is None or request.scheme is None:
        return request
    return msgspec.structs.replace(request, repeated=frozenset((*request.repeated, HOST)))


def _resolved(action: Action, one: Rule | Limit | Fault | Route) -> bool:
    """Whether what cannot be told is taken as matching."""
    if isinstance(one, Rule):  # against the request, unless the rule says otherwise
        return (action == "allow") == (one.on_error == "fail_open")
    return isinstance(one, Limit)


def _is_in(address: str | None, text: str) -> bool:
    """Whether the address is in the range; what is v4-mapped is IPv4, which no range of IPv6 includes."""
    if address is None:
        return False
    plain: IPv4Address | IPv6Address = ip_address(address)
    network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    if isinstance(plain, IPv6Address):
        plain = plain.ipv4_mapped or plain
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network[0].ipv4_mapped is not None:
        network = IPv4Network((network[0].ipv4_mapped, network.prefixlen - 96))
    return plain in network


def _any(found: Iterable[bool | None]) -> bool | None:
    """Whether one of several holds: surely, surely not, or it cannot be told."""
    values = list(found)
    if True in values:
        return True
    return None if None in values else False


def _method_is(request: Request, method: str) -> bool | None:
    if METHOD in request.truncated:
        # none of the registered methods is so long that it could be cut
        return False if method in _USUAL_METHODS else None
    return request.method == method.encode()


_USUAL_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def _host_is(request: Request, pattern: str) -> bool | None:
    if HOST in request.repeated or HOST in request.truncated:
        return None
    if request.host is None:
        return False
    name, port = _authority(request.host)
    wanted, wanted_port = _authority(pattern.encode())
    if wanted_port is not None:
        if port != wanted_port:
            return False
    elif len(request.host) >= PORT_DIGITS and request.host[-PORT_DIGITS:].isdigit():
        return None  # whether all of them are a port is more than the kernel looks at
    if wanted.startswith(b"*."):
        return name.endswith(wanted[1:]) and len(name) > len(wanted) - 1
    return name == wanted


def _authority(text: bytes) -> tuple[bytes, bytes | None]:
    """The name in lower case, without a dot at its end, and the port; "a:" has an empty port."""
    name, colon, port = text.rpartition(b":")
    if not colon or not all(0x30 <= digit <= 0x39 for digit in port):
        return text.removesuffix(b".").lower(), None
    return name.removesuffix(b".").lower(), port


def _header_is(request: Request, asked: HeaderMatch) -> bool | None:
    name = asked.name.lower()
    value = request.host if name == HOST else request.headers.get(name)
    uncertain = name in request.repeated or name in request.truncated
    came = value is not None or uncertain
    if asked.exact is None and asked.prefix is None:
        return came == (asked.present is not False)
    if asked.present is False:
        return False
    if not came:
        return False
    if uncertain or value is None:
        return None
    if asked.exact is not None and value != asked.exact.encode():
        return False
    return asked.prefix is None or value.startswith(asked.prefix.encode())
