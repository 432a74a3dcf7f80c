"""Why a request would be decided as it would: which rule, on which tier, which limits, and which backends it could reach.

The answer is that of `ebpfmesh.policy.reference`, the model that the kernel's tables are tested against; nothing of a
running mesh is asked. For what did happen there is the kernel's own record: `ebpfmesh.observe.Observer.recent`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ebpfmesh.engine.balance import registry
from ebpfmesh.engine.balance.table import ALIAS_COLUMN, Pick, Target
from ebpfmesh.errors import ConfigError
from ebpfmesh.identity import spiffe
from ebpfmesh.observe import asked
from ebpfmesh.observe.asked import Unreadable
from ebpfmesh.policy import source as sources
from ebpfmesh.policy.address import parse
from ebpfmesh.policy.describe import describe
from ebpfmesh.policy.model import Config, Service
from ebpfmesh.policy.reference import HOST, Client, Reason, Request, Step, Verdict, decide, unreadable

Tier = Literal["connect", "l7"]
_WHOLE = 1 << 16  # of an alias column's threshold
_PROTOCOLS = {"http1": "HTTP/1", "http2": "HTTP/2", "grpc": "gRPC"}


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A backend that a new connection can be given, and its share of them; address families apart, which not all reach."""

    address: str
    share: float


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that takes from the allowance of this request's key, unless one before it refused."""

    name: str
    what: str
    refuses: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a request, and why."""

    request: str | None
    """Method and path, or CONNECT and the authority, as they were sent; None: a connection, or nothing could be read."""
    service: str
    tier: Tier
    tier_why: str
    allowed: bool
    reason: str
    """``enum l7_reason``, in lower case."""
    rule: str | None
    """The rule, limit or fault that decided; None: the default of the service did."""
    sentence: str
    """All of it in one sentence."""
    workload: str | None
    path: str | None
    """As rules see it, normalised; None: no rule asks for paths, or it cannot be normalised."""
    route: str | None
    audited: bool
    limits: list[LimitState]
    faults: list[str]
    """Those that strike a share of requests such as this one."""
    reply: str | None
    """What the client is told in place of the service's answer."""
    steps: list[Step]
    """What was looked at, in order."""
    backends: list[Choice]
    balancer: str
    notes: list[str]


def explain(
    config: Config,
    service: str,
    *,
    source: str | Iterable[str] = (),
    method: str | None = "GET",
    target: str = "/",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    port: int | None = None,
    exhausted: Iterable[str] = (),
) -> Explanation:
    """Explain one request to ``service`` (a name, or one of its addresses) of a configuration that passes the check.

    ``source`` is who asks: a workload's name, a SPIFFE id, a cgroup ("/mesh/checkout"), an address, or several of these.
    ``method`` None asks about a connection alone. ``target`` as in a request line, with a query or an authority if
    you like. A request to a service of HTTP/1 is read by the parser that the kernel has, as HTTP/1.1. ``exhausted`` names
    limits whose allowance is used up. Errors: ConfigError for what is not in ``config``, and for line ends.
    """
    found, client, spent = _who(config, service, source, port, exhausted)
    request = None if method is None else asked.described(found, method, target, headers)
    return _explained(config, found, client, request, spent)


def explain_recorded(
    config: Config,
    service: str,
    data: bytes,
    *,
    source: str | Iterable[str] = (),
    port: int | None = None,
    exhausted: Iterable[str] = (),
) -> Iterator[Explanation]:
    """Explain each request in what a client sent on one connection; everything else as for `explain`.

    The service has ``l7``, else ConfigError. Behind a tunnel that is allowed nothing is told: it is another protocol.
    """
    found, client, spent = _who(config, service, source, port, exhausted)
    if found.l7 is None:
        raise ConfigError(
            "has no l7: its requests are not read", where=f"service {found.name}", remedy="give it l7"
        )
    at = 0
    while at < len(data):
        start = at
        for request, end in asked.recorded(found, data[start:]):
            explanation = _explained(config, found, client, request, spent)
            yield explanation
            if isinstance(request, Request) and (request.upgrades or request.method == b"CONNECT"):
                if explanation.allowed:
                    return
                at = start + end  # nobody was asked to switch: what follows is read as before
                break
        else:
            return


def _who(
    config: Config, service: str, source: str | Iterable[str], port: int | None, exhausted: Iterable[str]
) -> tuple[Service, Client, frozenset[str]]:
    found, asked_port = _service(config, service)
    client = _client(config, (source,) if isinstance(source, str) else tuple(source), port or asked_port)
    spent = frozenset(exhausted)
    _known_limits(found, spent)
    return found, client, spent


def _explained(
    config: Config,
    found: Service,
    client: Client,
    request: Request | Unreadable | None,
    spent: frozenset[str],
) -> Explanation:
    why = request if isinstance(request, str) else ""
    if not isinstance(request, str):
        verdict = decide(config, found, client, request if found.l7 else None, exhausted=spent)
    else:
        request, verdict = None, unreadable(config, found, client)
    tier, tier_why = _tier(found)
    return Explanation(
        request=None if request is None else _line(request),
        service=found.name,
        tier=tier,
        tier_why=tier_why,
        allowed=verdict.allowed,
        reason=verdict.reason.name.lower(),
        rule=verdict.rule,
        sentence=_sentence(found, verdict, why, connection=request is None),
        workload=verdict.workload,
        path=None if verdict.path is None else verdict.path.decode("latin-1"),
        route=verdict.route,
        audited=verdict.audited,
        limits=_limits(found, verdict),
        faults=[f"{one.name}: {describe(one)}" for one in found.faults if one.name in verdict.faults],
        reply=None if verdict.reply is None else describe(verdict.reply),
        steps=list(verdict.why),
        backends=_backends(found),
        balancer=found.balance.name,
        notes=_notes(found, request, verdict),
    )


def _line(request: Request) -> str:
    what = request.host if request.path is None else request.path
    return b" ".join(part for part in (request.method, what) if part).decode("latin-1")


def _notes(service: Service, request: Request | None, verdict: Verdict) -> list[str]:
    """What whoever described the request may not know."""
    if request is None:
        return []
    if service.l7 is None:
        return ["nothing of the request is looked at: the service has no l7"]
    if not any("the host" in step.why for step in verdict.why):
        return []
    if service.l7 == "http1" and request.scheme is not None:
        return [
            "the target names a host: servers differ in whether it counts or the Host header, so it cannot be told"
        ]
    if request.host is None and HOST not in request.truncated:
        return ["no host was given, and rules ask for one: say -H 'host: …'"]
    return []


# --- what is asked ----------------------------------------------------------------------------------------------------


def _service(config: Config, text: str) -> tuple[Service, int | None]:
    """The service by its name, or by an address of it, and then the port."""
    if (found := config.by_name(text)) is not None:
        return found, None
    try:
        endpoint = parse(text)
    except ConfigError:
        names = ", ".join(service.name for service in config.services[:8])
        raise ConfigError(
            f"there is no service {text!r}", where="service", remedy=f"there are: {names}" if names else ""
        ) from None
    for service in config.services:
        if endpoint in service.endpoints:
            return service, endpoint.port
    raise ConfigError(
        f"no service has the address {endpoint}", where="service", remedy="it is connected to as it is"
    )


def _client(config: Config, texts: Sequence[str], port: int | None) -> Client:
    """Who asks, from what is known of it: at most one workload, id or cgroup, and one address."""
    cgroup, address = None, None
    for text in texts:
        kind, value = next(iter(sources.fields_of(text).items()))
        if kind == "address":
            address = value
        elif cgroup is not None:
            raise ConfigError(
                f"{text!r} is a second one who asks", where="from", remedy="name one, and an address"
            )
        else:
            cgroup = _cgroup(config, kind, value)
    return Client(cgroup=cgroup or "/", address=address, port=port)


def _cgroup(config: Config, kind: str, value: str) -> str:
    if kind == "cgroup":
        return value
    for workload in config.workloads:
        if kind == "workload" and workload.name == value:
            return workload.cgroup
        if kind == "spiffe" and workload.spiffe is not None and spiffe.matches(value, workload.spiffe):
            return workload.cgroup
    names = ", ".join(workload.name for workload in config.workloads[:8])
    raise ConfigError(
        f"there is no workload {value!r}",
        where="from",
        remedy=f"there are: {names}" if names else "none is named",
    )


def _conditions(service: Service) -> list[Any]:
    return [*service.rules, *service.limits, *service.faults, *service.routes]


def _known_limits(service: Service, exhausted: Iterable[str]) -> None:
    names = [limit.name for limit in service.limits]
    for name in exhausted:
        if name not in names:
            there = f"there are: {', '.join(names)}" if names else "the service has none"
            raise ConfigError(f"there is no limit {name!r}", where="exhausted", remedy=there)


# --- what is answered -------------------------------------------------------------------------------------------------


def _tier(service: Service) -> tuple[Tier, str]:
    """The lowest tier that can enforce all of it."""
    if service.l7 is not None:
        asking = next((one.name for one in _conditions(service) if one.asks_request), None)
        what = _PROTOCOLS[service.l7]
        why = f"{asking} asks for the request" if asking else "each request is judged, counted and timed"
        return "l7", f"the service speaks {what}, and {why}: judged in the client's own send(), in the kernel"
    if service.rules:
        calls = "connect()" if service.protocol == "tcp" else "connect() and sendmsg()"
        return "connect", f"its rules ask only who connects: judged at {calls}, which fails with EACCES"
    return "connect", "it has no rules: connections are balanced, and nothing else is asked"


def _sentence(service: Service, verdict: Verdict, unread: str, *, connection: bool) -> str:
    what = "the connection" if (connection and not unread) or service.l7 is None else "the request"
    by = f" {verdict.rule}" if verdict.rule else ""
    told = "" if verdict.reply is None else f"; the client is told {verdict.reply.status}"
    match verdict.reason:
        case Reason.BY_RULE:
            text = f"rule{by} {'allows' if verdict.allowed else 'denies'} {what}"
        case Reason.BY_DEFAULT:
            text = f"{what} is allowed: no rule denies it, and the service has none that allows"
        case Reason.NOT_ALLOWED:
            text = f"{what} is denied: the service has rules that allow, and none allows this"
        case Reason.BAD_PATH:
            text = f"{what} is refused: its path cannot be normalised ({verdict.bad_path})"
        case Reason.TUNNELS:
            text = f"{what} is refused: it would open a tunnel, in which others pass unseen"
        case Reason.UNDECODABLE if verdict.allowed:
            text = f"{what} cannot be read ({unread}): it passes unseen, and all that follows it on its connection"
        case Reason.UNDECODABLE:
            text = f"{what} is refused: it cannot be read ({unread}), and its connection ends"
        case Reason.LIMITED:
            text = f"limit{by} refuses {what}: its allowance is used up"
        case Reason.FAULTED:
            text = f"fault{by} answers {what} in place of the service"
        case _:
            text = f"{what} is {'allowed' if verdict.allowed else 'denied'}"
    return text + told


def _limits(service: Service, verdict: Verdict) -> list[LimitState]:
    by_name = {limit.name: limit for limit in service.limits}
    refusing = verdict.rule if verdict.reason == Reason.LIMITED else None
    return [
        LimitState(name=name, what=describe(by_name[name]), refuses=name == refusing)
        for name in verdict.limits
    ]


def _backends(service: Service) -> list[Choice]:
    """Those that take new connections, each with its share of the slots of the table that the balancer makes."""
    targets = [
        Target(number, one.effective_weight, one.endpoint.identity)
        for number, one in enumerate(service.backends, 1)
    ]
    table = registry.build(service.balance.name, targets, size=service.balance.table)
    shares: Counter[int] = Counter()
    if table.pick == Pick.ALIAS:
        for at in range(0, len(table.slots), ALIAS_COLUMN):
            number, alias, threshold = table.slots[at : at + 3]
            shares[number] += threshold
            shares[alias] += _WHOLE - threshold
    else:
        shares.update(table.slots)
    total = shares.total()
    return [
        Choice(address=str(one.endpoint), share=shares[number] / total)
        for number, one in enumerate(service.backends, 1)
        if shares[number]
    ]
