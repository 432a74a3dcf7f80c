"""What is wrong with the policy of one service: its l7, http settings, rules, limits, faults and routes."""

from __future__ import annotations

from collections.abc import Iterator

from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy import address, compile, render
from ebpfmesh.policy.allowance_check import allowance_problems
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.header_check import name_problem
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.known import Known
from ebpfmesh.policy.limit import HEADER, Limit
from ebpfmesh.policy.match_check import match_problems
from ebpfmesh.policy.model import Service
from ebpfmesh.policy.nearest import nearest
from ebpfmesh.policy.request_match import SourcedMatch
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source_check import source_problems

KINDS = ("rules", "limits", "faults", "routes")
_KEYS = ("service", "client-address", "identity")
_HTTP = Http()
_FOR_L7 = 'give the service l7 = "http1", "http2" or "grpc"'


def policy_problems(service: Service, where: str, known: Known) -> list[EbpfMeshError]:
    """What is wrong with the policy of a service whose types are right; if nothing is, what the tables cannot hold."""
    found = list(_problems(service, where, known))
    if found or _ports(service) is None:
        return found
    return compile.problems(service, known.alone(service), where)


def _problems(service: Service, where: str, known: Known) -> Iterator[EbpfMeshError]:
    if service.l7 is None:
        yield from _without_l7(service, where)
    elif service.protocol != "tcp":
        yield ConfigError(
            f"{service.l7} is spoken over TCP, and the service is {service.protocol}",
            where=f"{where}.l7",
            remedy='leave it out, or set protocol = "tcp"',
        )
    yield from _http(service.http, f"{where}.http", known)
    first: dict[str, str] = {}
    keeps = service.http.path_parameters == "keep"
    for kind in KINDS:
        for number, one in enumerate(getattr(service, kind)):
            here = f"{where}.{kind}[{number}]"
            yield from _name(one.name, here, first)
            yield from match_problems(one, here, l7=service.l7, parameters=keeps)
            if isinstance(one, SourcedMatch):
                yield from source_problems(one.sources, f"{here}.from", known, l7=service.l7 is not None)
            if isinstance(one, Rule):
                yield from _rule(one, here, service, known)
            elif isinstance(one, Limit):
                yield from _limit(one, here, known)
            elif isinstance(one, Fault):
                yield from _fault(one, here, known)


def _without_l7(service: Service, where: str) -> Iterator[ConfigError]:
    for field in ("limits", "faults", "routes"):
        if getattr(service, field):
            what = "they are about requests, and the service has no l7"
            yield ConfigError(what, where=f"{where}.{field}", remedy=_FOR_L7)
    if service.open_sockets != "leave":
        what = "it is about connections whose requests are judged, and the service has no l7"
        yield ConfigError(what, where=f"{where}.open_sockets", remedy=_FOR_L7)
    if service.http != _HTTP:
        what = "it is about requests, and the service has no l7"
        yield ConfigError(what, where=f"{where}.http", remedy=_FOR_L7)


def _http(http: Http, where: str, known: Known) -> Iterator[EbpfMeshError]:
    if http.undecodable == "proxy":
        yield ConfigError(
            "handing traffic over to a proxy is not built yet",
            where=f"{where}.undecodable",
            remedy='"refuse" or "pass"',
        )
    if not 0 <= http.sample <= 1:
        yield ConfigError(f"{http.sample} is no share", where=f"{where}.sample", remedy="0.0 to 1.0")
    for field in ("default_reply", "bad_path_reply", "undecodable_reply"):
        yield from _reply(getattr(http, field), f"{where}.{field}", known)
    try:
        render.insert(http.set_headers, where=f"{where}.set_headers")
    except EbpfMeshError as error:
        yield error


def _name(name: str, where: str, first: dict[str, str]) -> Iterator[ConfigError]:
    if not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= 63 or name != name.strip():
        remedy = "1 to 63 bytes of printable text, no blank at either end"
        yield ConfigError(f"{name[:80]!r} is no name", where=f"{where}.name", remedy=remedy)
    before = first.setdefault(name, where)
    if before != where:
        yield ConfigError(
            f"the name {name!r} is that of {before} already",
            where=f"{where}.name",
            remedy="rules, limits, faults and routes of a service have different names",
        )


def _rule(rule: Rule, where: str, service: Service, known: Known) -> Iterator[ConfigError]:
    if rule.port is not None:
        ports = _ports(service)
        if ports is not None and rule.port not in ports:
            yield ConfigError(
                f"{rule.port} is no port of the service",
                where=f"{where}.port",
                remedy=f"one of: {', '.join(map(str, sorted(ports)))}" if ports else "it has no address",
            )
    if rule.reply is not None:
        if rule.action != "deny":
            what = f'a rule with action = "{rule.action}" answers nothing'
            yield ConfigError(what, where=f"{where}.reply", remedy="leave it out")
        elif service.l7 is None:
            what = "without l7 a client is refused by connect() with EACCES, and sees no reply"
            yield ConfigError(what, where=f"{where}.reply", remedy="leave it out, or give the service an l7")
        yield from _reply(rule.reply, f"{where}.reply", known)


def _ports(service: Service) -> set[int] | None:
    try:
        return {address.parse(one).port for one in service.addresses}
    except ConfigError:
        return None  # said where the addresses are looked at


def _limit(limit: Limit, where: str, known: Known) -> Iterator[EbpfMeshError]:
    yield from allowance_problems(limit, where)
    if limit.key.startswith(HEADER):
        if wrong := name_problem(limit.key.removeprefix(HEADER), f"{where}.key"):
            yield wrong
    elif limit.key not in _KEYS:
        remedy = nearest(limit.key, _KEYS)
        if not remedy.startswith("did"):
            remedy = f'one of: {", ".join(_KEYS)}, "header:x-user"'
        yield ConfigError(f"{limit.key[:80]!r} is no key of a limit", where=f"{where}.key", remedy=remedy)
    yield from _reply(limit.reply, f"{where}.reply", known)


def _fault(fault: Fault, where: str, known: Known) -> Iterator[ConfigError]:
    if not 0 < fault.percentage <= 100:
        what = f"{fault.percentage:g} is no percentage of requests to answer"
        yield ConfigError(what, where=f"{where}.percentage", remedy="above 0, up to 100")
    if fault.status is not None:
        if fault.reply is not None:
            what = f"the reply {fault.reply!r} has a status of its own"
            yield ConfigError(what, where=f"{where}.status", remedy="status or reply")
        if not 200 <= fault.status <= 599:
            yield ConfigError(
                f"{fault.status} is no final status", where=f"{where}.status", remedy="200 to 599"
            )
    yield from _reply(fault.reply, f"{where}.reply", known)


def _reply(name: str | None, where: str, known: Known) -> Iterator[ConfigError]:
    if name is not None and name not in known.replies:
        yield ConfigError(
            f"there is no reply {name!r}",
            where=where,
            remedy=nearest(name, known.replies) or "list it in [[replies]]",
        )
