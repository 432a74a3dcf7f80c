"""Rules, limits, faults, routes, workloads and replies in one line each, for plans and explanations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.reply import Reply
from ebpfmesh.policy.request_match import HeaderMatch, RequestMatch, SourcedMatch
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source


@singledispatch
def describe(one: object) -> str:
    """One line of text for a part of the model, without its name."""
    return str(one)


@describe.register
def _(rule: Rule) -> str:
    port = f" to port {rule.port}" if rule.port is not None else ""
    opens = "; when it cannot be told: fail open" if rule.on_error == "fail_open" else ""
    return f"{rule.action} {_asked(rule)}{port}{_answer(rule.reply)}{opens}"


@describe.register
def _(limit: Limit) -> str:
    burst = "" if limit.burst is None else f", burst {limit.burst}"
    return f"{limit.rate}{burst} per {limit.key}, of {_asked(limit)}{_answer(limit.reply)}"


@describe.register
def _(fault: Fault) -> str:
    status = fault.status if fault.status is not None else 503 if fault.reply is None else None
    told = f" with {status}" if status is not None else ""
    return f"{fault.percentage:g} % of {_asked(fault)}{told}{_answer(fault.reply)}"


@describe.register
def _(route: Route) -> str:
    return _asked(route)


@describe.register
def _(workload: Workload) -> str:
    labels = [f"{name}={value}" for name, value in workload.labels.items()]
    return ", ".join([workload.cgroup, *([workload.spiffe] if workload.spiffe else []), *labels])


@describe.register
def _(reply: Reply) -> str:
    parts = [str(reply.status)]
    if reply.location is not None:
        parts.append(f"to {reply.location}")
    if reply.body:
        parts.append(f"{reply.content_type}, {len(reply.body.encode())} B")
    return ", ".join([*parts, *(f"{name}: {value}" for name, value in reply.headers.items())])


def _asked(match: RequestMatch) -> str:
    parts = list(_parts(match))
    if not any((match.methods, match.paths, match.hosts, match.headers, match.grpc)):
        parts.insert(0, "everything")
    return " ".join(parts)


def _parts(match: RequestMatch) -> Iterator[str]:
    if match.methods:
        yield "|".join(match.methods)
    if match.paths:
        yield ", ".join(match.paths)
    if match.grpc:
        yield ", ".join(f"grpc {one.path.removeprefix('/')}" for one in match.grpc)
    if match.hosts:
        yield f"at {', '.join(match.hosts)}"
    if match.headers:
        yield f"with {' and '.join(map(_header, match.headers))}"
    if isinstance(match, SourcedMatch) and match.sources:
        yield f"from {', '.join(map(_source, match.sources))}"


def _header(header: HeaderMatch) -> str:
    if header.exact is not None:
        return f"{header.name}: {header.exact}"
    if header.prefix is not None:
        return f"{header.name}: {header.prefix}…"
    return f"no {header.name}" if header.present is False else header.name


def _source(source: Source) -> str:
    labels = ",".join(f"{name}={value}" for name, value in (source.labels or {}).items())
    texts = (source.workload, source.spiffe, labels or None, source.cgroup, source.address)
    return " & ".join(text for text in texts if text is not None) or "anybody"


def _answer(reply: str | None) -> str:
    return "" if reply is None else f", reply {reply}"
