"""What a rule asks of a request: method, path, host, headers, gRPC method. What is left out (None) is not asked for."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import force_setattr

from ebpfmesh.policy import source
from ebpfmesh.policy.series import settle
from ebpfmesh.policy.source import Source


class HeaderMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One header: with just its name, that it is there."""

    name: str
    """In lower case; letters of either case are the same."""
    exact: str | None = None
    """The whole value."""
    prefix: str | None = None
    """The value begins with this."""
    present: bool | None = None
    """Whether it is there at all; false: it is absent."""


class GrpcMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A method of a gRPC service, or all of them: POST to "/service/method"."""

    service: str
    """With its package: "shop.v1.Orders"."""
    method: str | None = None
    """None: every method of the service."""

    @property
    def path(self) -> str:
        """The path template: "/shop.v1.Orders/Get", "/shop.v1.Orders/*"."""
        return f"/{self.service}/{'*' if self.method is None else self.method}"


class RequestMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that is set has to hold; of a list, one element does, but for ``headers``, of which all do.

    An empty list would match nothing and is refused by the check: a list that came out empty by mistake must not
    be taken for "any".
    """

    methods: tuple[str, ...] | None = None
    """ "GET", "POST" …; GET is not HEAD."""
    paths: tuple[str, ...] | None = None
    """ "/exact", "/users/*/orders" (one segment that is not empty), "/admin/**" (/admin and everything below it)."""
    hosts: tuple[str, ...] | None = None
    """ "shop.example", or "*.shop.example" (everything below it); letters of either case, and with any port."""
    headers: tuple[HeaderMatch, ...] | None = None
    grpc: tuple[GrpcMatch, ...] | None = None
    """In place of ``methods`` and ``paths``."""

    def __post_init__(self) -> None:
        headers: object = self.headers
        if isinstance(headers, dict):  # { "x-user" = "root" }
            force_setattr(self, "headers", tuple([HeaderMatch(**one) for one in headers_of(headers)]))
        settle(self, methods=None, paths=None, hosts=None, headers=_header, grpc=_grpc)

    @property
    def asks_request(self) -> bool:
        """Whether it asks for anything that only a parsed request can tell."""
        fields = (self.methods, self.paths, self.hosts, self.headers, self.grpc)
        return any(field is not None for field in fields)


class SourcedMatch(RequestMatch, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A `RequestMatch` that also asks where the request comes from."""

    sources: tuple[Source, ...] | None = msgspec.field(default=None, name="from")
    """Any one of them; None: anybody. In TOML it is ``from``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, sources=source.read)


def headers_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of each header of the short form, a table of names and values: text is the whole value, true and false
    is presence. A table with a ``name`` is one header in its long form.
    """
    if "name" in table:
        return [table]
    return [
        {"name": name, "present" if isinstance(value, bool) else "exact": value}
        for name, value in table.items()
    ]


def grpc_of(text: str) -> dict[str, Any]:
    """The fields of a gRPC method as it is written short: "shop.v1.Orders/Get", or "shop.v1.Orders" for all of them."""
    service, slash, method = text.removeprefix("/").partition("/")
    return {"service": service, "method": method} if slash else {"service": service}


def _header(value: Any) -> Any:
    return HeaderMatch(value) if isinstance(value, str) else value


def _grpc(value: Any) -> Any:
    return GrpcMatch(**grpc_of(value)) if isinstance(value, str) else value
