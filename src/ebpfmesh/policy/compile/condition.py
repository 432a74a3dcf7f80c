"""What a rule asks of a request besides its path, as kernel rules: methods in a word, and conditions that all hold.

A kernel rule has no "or". A rule with two hosts, or with two methods that have no bit, is several kernel rules of one
number; no two of them hold of one request, unless the request has fields that cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from ebpfmesh.errors import CapacityError
from ebpfmesh.policy.compile.field import Fields
from ebpfmesh.policy.request_match import HeaderMatch, RequestMatch
from ebpfmesh.policy.wire import (
    ANY_METHOD,
    CONDITION,
    CONDITION_TEXT,
    CONDITIONS,
    ConditionFlag,
    Field,
    Method,
    Op,
)

_BITS = {method.name: 1 << method for method in Method if method is not Method.OTHER}


class Condition(NamedTuple):
    """``struct l7_condition``."""

    field: int
    op: Op
    flags: int = 0
    text: bytes = b""

    def pack(self) -> bytes:
        """The kernel's form."""
        return CONDITION.pack(self.field, self.op, self.flags, len(self.text), self.text)


class Part(NamedTuple):
    """One kernel rule of a rule: bits of methods, and conditions."""

    methods: int
    conditions: tuple[Condition, ...]


ANYTHING = (Part(ANY_METHOD, ()),)


def parts(match: RequestMatch, fields: Fields, where: str) -> tuple[Part, ...]:
    """The kernel rules of a match, whatever its paths. CapacityError and ConfigError, with the path of the field."""
    headers = [
        one for number, header in enumerate(match.headers or ())
        for one in _of_header(header, fields, f"{where}.headers[{number}]")
    ]  # fmt: skip
    if len(headers) > CONDITIONS:
        raise _too_many(len(headers), f"{where}.headers")
    found = []
    for (methods, method), host in product(_of_methods(match, where), _of_hosts(match.hosts, where)):
        conditions = (*method, *host, *headers)
        if len(conditions) > CONDITIONS:
            raise _too_many(len(conditions), where)
        found.append(Part(methods, conditions))
    return tuple(found)


def _of_methods(match: RequestMatch, where: str) -> Iterator[tuple[int, tuple[Condition, ...]]]:
    methods: Iterable[str] | None = match.methods
    if match.grpc is not None:
        methods = [method for method in ("POST",) if methods is None or method in methods]
    if methods is None:
        yield ANY_METHOD, ()
        return
    bits = 0
    for method in methods:
        bits |= _BITS.get(method, 0)
    if bits:
        yield bits, ()
    for method in dict.fromkeys(method for method in methods if method not in _BITS):
        text = _text(method, f"{where}.methods")
        yield 1 << Method.OTHER, (Condition(Field.METHOD, Op.EQUALS, text=text),)


# --- hosts --------------------------------------------------------------------------------------------------------------


def _of_hosts(hosts: tuple[str, ...] | None, where: str) -> Iterator[tuple[Condition, ...]]:
    if hosts is None:
        yield ()
        return
    for host in _distinct(hosts):
        name, port = _split(host)
        op = Op.ENDS if name.startswith("*.") else Op.EQUALS
        name = name.removeprefix("*") if op is Op.ENDS else name
        if port is None:
            flags = int(ConditionFlag.FOLDS | ConditionFlag.WITHOUT_PORT)
            yield (Condition(Field.HOST, op, flags, _text(name, f"{where}.hosts")),)
            continue
        for dot in "", ".":  # with a port, the whole text is compared
            text = _text(f"{name}{dot}:{port}", f"{where}.hosts")
            yield (Condition(Field.HOST, op, int(ConditionFlag.FOLDS), text),)


def _distinct(hosts: Iterable[str]) -> list[str]:
    """Without those that another one includes: one kernel rule then matches a request, and a limit takes one token."""
    names = list(dict.fromkeys(_normal(host) for host in hosts))
    return [host for host in names if not any(_includes(other, host) for other in names if other != host)]


def _normal(host: str) -> str:
    name, port = _split(host)
    return name if port is None else f"{name}:{port}"


def _split(host: str) -> tuple[str, str | None]:
    """The name in lower case, without a dot at its end, and the port."""
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        return host.removesuffix(".").lower(), None
    return name.removesuffix(".").lower(), port


def _includes(wide: str, narrow: str) -> bool:
    (name, port), (inner, inner_port) = _split(wide), _split(narrow)
    if port is not None and port != inner_port:
        return False
    if not name.startswith("*."):
        return name == inner
    return inner.endswith(name[1:]) and len(inner) >= len(name)


# --- headers ------------------------------------------------------------------------------------------------------------


def _of_header(header: HeaderMatch, fields: Fields, where: str) -> Iterator[Condition]:
    asks_value = header.exact is not None or header.prefix is not None
    field = fields.of(header.name, where, value=asks_value)
    if header.present is False:
        yield Condition(field, Op.IS_ABSENT)
    elif not asks_value:
        yield Condition(field, Op.IS_PRESENT)
    if header.exact is not None:
        yield Condition(field, Op.EQUALS, text=_text(header.exact, f"{where}.exact"))
    if header.prefix is not None:
        yield Condition(field, Op.BEGINS, text=_text(header.prefix, f"{where}.prefix"))


def _text(text: str, where: str) -> bytes:
    raw = text.encode()
    if len(raw) > CONDITION_TEXT:
        raise CapacityError(
            f"{text[:40]!r}… has {len(raw)} bytes, and {CONDITION_TEXT} can be compared",
            where=where,
            remedy="ask for its beginning" if where.endswith("exact") else "",
        )
    return raw


def _too_many(count: int, where: str) -> CapacityError:
    return CapacityError(
        f"it asks for {count} things besides paths and usual methods, and {CONDITIONS} can be asked for",
        where=where,
        remedy="leave out a header, or make two rules of it",
    )
