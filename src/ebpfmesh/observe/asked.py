"""Requests as the mesh's own parsers tell them: one that is described, or those that somebody recorded.

A request of HTTP/1 is written as it would be sent and read by the core that the kernel runs, so that what is said of it
here is said of the same fields, cut at the same places, or not at all where the core refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError, ParseError
from ebpfmesh.l7.contract import Config as ParserConfig
from ebpfmesh.l7.contract import Direction
from ebpfmesh.l7.events import End, Event, Undecodable
from ebpfmesh.l7.http import HEADER_ATTRIBUTES, HTTP2_ATTRIBUTES, Options
from ebpfmesh.l7.http import Request as Head
from ebpfmesh.policy.model import Service
from ebpfmesh.policy.reference import HOST, METHOD, PATH, Request

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Unreadable = str
"""Why no request can be made of the bytes."""
_NAMES = {"method": METHOD, "path": PATH}
_NO_HEADERS = {
    "method", "target", "path", "host", "scheme", "version", "framing", "connection", "protocol", "registered", "headers",
    "repeated", "truncated", "direction", "position", "stream",
}  # fmt: skip


def described(service: Service, method: str, target: str, headers: Headers) -> Request | Unreadable:
    """The request that this describes. Errors: ConfigError for line ends, which would begin something else."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    for text in (method, target, *(part for pair in pairs for part in pair)):
        if "\r" in text or "\n" in text:
            raise ConfigError(f"{text!r} has a line end", where="request")
    if service.l7 != "http1":
        return _by_hand(method, target, pairs)
    lines = [f"{method} {target} HTTP/1.1".encode(), *(_line(name, value) for name, value in pairs)]
    found, _ = next(_read(service, b"".join(line + b"\r\n" for line in (*lines, b""))))
    return found


def recorded(service: Service, data: bytes) -> Iterator[tuple[Request | Unreadable, int]]:
    """Each request in what a client sent on one connection, and where the bytes behind it begin.

    A request that opens a tunnel is the last: go on behind it, if it was refused. What cannot be read is the last too.
    """
    yield from _read(service, data)


def _read(service: Service, data: bytes) -> Iterator[tuple[Request | Unreadable, int]]:
    protocol = service.l7 or "http1"
    known = HEADER_ATTRIBUTES if protocol == "http1" else HTTP2_ATTRIBUTES
    names = tuple(name for name in _asked_headers(service) if name not in known)
    connection = l7.parser(protocol).connection(ParserConfig(names=names))
    why: Unreadable | None = None
    try:
        events = connection.feed(Direction.REQUEST, data)
    except ParseError as error:
        events, why = list(error.events), str(error)
    for number, event in enumerate(events):
        if isinstance(event, Head):
            yield _told(event), _end(events[number:], event)
        elif isinstance(event, Undecodable):
            why = f"undecodable: {event.reason}"
    if why is not None:
        yield why, len(data)


def _end(events: Sequence[Event], head: Head) -> int:
    found = (one.position for one in events if isinstance(one, End) and one.stream == head.stream)
    return next(found, head.position)


def _told(head: Head) -> Request:
    """The event as the model has it."""
    headers = {name: value.encode("latin-1") for name, value in head.registered.items()}
    for name in set(head.__struct_fields__) - _NO_HEADERS:
        value = getattr(head, name)
        if value is not None:
            headers[name.replace("_", "-")] = str(value).encode("latin-1")
    return Request(
        method=head.method.encode("latin-1"),
        path=_path(head),
        host=None if head.host is None else head.host.encode("latin-1"),
        headers=headers,
        repeated=frozenset(map(_name, head.repeated)),
        truncated=frozenset(map(_name, head.truncated)),
        scheme=None if head.scheme is None else head.scheme.encode("latin-1"),
        upgrades=head.connection is not None and Options.UPGRADE in head.connection,
    )


def _path(head: Head) -> bytes | None:
    """The path, with the "#" that it was cut at: no target has one (RFC 9112 section 3.2), and policy refuses it."""
    if head.path is None:
        return None
    path, hash_, fragment = (head.target or "").partition("?")[0].partition("#")
    ends = bool(hash_) and path.endswith(head.path)
    return (head.path + (f"#{fragment}" if ends else "")).encode("latin-1")


def _name(attribute: str) -> str:
    if attribute not in Head.__struct_fields__:
        return attribute  # a registered name, as it is
    return _NAMES.get(attribute, attribute.replace("_", "-"))


def _asked_headers(service: Service) -> list[str]:
    """The headers that something of the service asks for, in the order of the model, each once."""
    every = [*service.rules, *service.limits, *service.faults, *service.routes]
    names = [header.name.lower() for one in every for header in one.headers or ()]
    names += [limit.header for limit in service.limits if limit.header is not None]
    return list(dict.fromkeys(name for name in names if name != HOST))


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}".encode("latin-1", "replace")


def _by_hand(method: str, target: str, pairs: Sequence[tuple[str, str]]) -> Request:
    """Of HTTP/2, whose requests have no text: the target's authority is :authority, and a query is no part of the path."""
    values: dict[str, bytes] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        lower = name.lower()
        if lower in values:
            repeated.add(lower)
        values.setdefault(lower, value.encode("latin-1", "replace"))
    path, host = _target(method, target)
    if host is None:
        host = values.get(HOST, values.get(":authority"))
    return Request(method=method.encode(), path=path, host=host, headers=values, repeated=repeated)


def _target(method: str, target: str) -> tuple[bytes | None, bytes | None]:
    if method == "CONNECT":
        return None, target.encode()
    host = None
    scheme, separator, rest = target.partition("://")
    if separator and scheme.isalpha():
        authority, slash, path = rest.partition("/")
        host, target = authority.encode(), slash + path or "/"
    return target.partition("?")[0].encode(), host
