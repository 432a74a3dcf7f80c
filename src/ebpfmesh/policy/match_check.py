"""What is wrong with what a rule, limit, fault or route asks of requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy import path
from ebpfmesh.policy.header_check import LONGEST_TEXT, header_problems, too_long
from ebpfmesh.policy.request_match import GrpcMatch, RequestMatch

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""Methods as they are usually written."""

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")  # RFC 9110 section 9.1
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]")
_GRPC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GRPC_SERVICE = re.compile(rf"{_GRPC_NAME.pattern}(\.{_GRPC_NAME.pattern})*")


def match_problems(
    match: RequestMatch, where: str, *, l7: str | None, parameters: bool
) -> Iterator[EbpfMeshError]:
    """The problems of the request part; ``l7`` is the service's, ``parameters``: it lets paths with ";" through."""
    if l7 is None:
        for field in ("methods", "paths", "hosts", "headers", "grpc"):
            if getattr(match, field) is not None:
                yield ConfigError(
                    "it asks for a part of the request, and the service has no l7",
                    where=f"{where}.{field}",
                    remedy='give the service l7 = "http1", "http2" or "grpc"',
                )
        return
    yield from _each(match.methods, f"{where}.methods", _method)
    yield from _each(match.paths, f"{where}.paths", _path)
    for number, text in enumerate(match.paths or ()):
        if not parameters and re.search(";|%3b", text, re.IGNORECASE):
            yield ConfigError(
                f"{text!r} has {path.BadPath.PARAMETERS}, and the service refuses such paths",
                where=f"{where}.paths[{number}]",
                remedy='leave it out, or set path_parameters = "keep" in its http',
            )
    yield from _each(match.hosts, f"{where}.hosts", _host)
    if match.headers is not None:
        yield from _empty(match.headers, f"{where}.headers")
        yield from header_problems(match.headers, f"{where}.headers")
    yield from _grpc(match, where, l7)


def _each(
    values: Sequence[str] | None, where: str, look: Callable[[str, str], EbpfMeshError | None]
) -> Iterator[EbpfMeshError]:
    if values is None:
        return
    yield from _empty(values, where)
    first: dict[str, int] = {}
    for number, value in enumerate(values):
        if (wrong := look(value, f"{where}[{number}]")) is not None:
            yield wrong
        elif (before := first.setdefault(value, number)) != number:
            yield ConfigError(f"{value!r} is {where}[{before}] already", where=f"{where}[{number}]")


def _empty(values: Sequence[object], where: str) -> Iterator[ConfigError]:
    if not values:
        yield ConfigError("it is empty, and would match nothing", where=where, remedy="leave it out for any")


def _method(method: str, where: str) -> EbpfMeshError | None:
    if not _METHOD.fullmatch(method):
        return ConfigError(f"{method[:80]!r} is no method", where=where, remedy='write "GET", "POST" …')
    if method.upper() in METHODS and method not in METHODS:
        return ConfigError(
            f"{method!r} is no method: they are told apart by case",
            where=where,
            remedy=f"write {method.upper()!r}",
        )
    return None


def _path(text: str, where: str) -> EbpfMeshError | None:
    try:
        text.encode()
        path.parse(text)
    except UnicodeEncodeError:
        return ConfigError(f"{text!r} is no text", where=where)
    except EbpfMeshError as error:
        return type(error)(error.what, where=where, remedy=error.remedy)
    return None


def _host(host: str, where: str) -> EbpfMeshError | None:
    lower = host.lower()
    if _HOST.fullmatch(lower):
        return too_long(host, where) if len(host) > LONGEST_TEXT else None
    remedy = 'write "shop.example", or "*.shop.example" for everything below it'
    if re.fullmatch(r".*[^:]:[0-9]+", host):
        remedy = f"leave the port out: {host.rpartition(':')[0]!r} is the host with any port"
    elif not host.isascii():
        remedy = 'write it as it is sent: "xn--…"'
    return ConfigError(f"{host[:80]!r} is no host", where=where, remedy=remedy)


def _grpc(match: RequestMatch, where: str, l7: str) -> Iterator[EbpfMeshError]:
    if match.grpc is None:
        return
    where = f"{where}.grpc"
    yield from _empty(match.grpc, where)
    if l7 == "http1":
        yield ConfigError(
            'gRPC is HTTP/2, and the service has l7 = "http1"', where=where, remedy='l7 = "grpc"'
        )
    for field in ("methods", "paths"):
        if getattr(match, field) is not None:
            yield ConfigError(f"it says the {field} already", where=where, remedy=f"leave {field} out")
    for number, one in enumerate(match.grpc):
        yield from _grpc_names(one, f"{where}[{number}]")


def _grpc_names(one: GrpcMatch, where: str) -> Iterator[ConfigError]:
    if not _GRPC_SERVICE.fullmatch(one.service):
        yield ConfigError(
            f"{one.service[:80]!r} is no gRPC service",
            where=f"{where}.service",
            remedy='write it with its package: "shop.v1.Orders"',
        )
    if one.method is not None and not _GRPC_NAME.fullmatch(one.method):
        remedy = "leave it out for every method" if one.method == "*" else 'write "GetOrder"'
        yield ConfigError(f"{one.method[:80]!r} is no gRPC method", where=f"{where}.method", remedy=remedy)
