"""The model: a `Config` of `Service`s with their `Backend`s, immutable and comparable.

A file is read into it by `ebpfmesh.policy.toml`; in Python it is built by hand. Constructing checks
nothing but converts the short forms (an address for a `Backend`, a name for a `Balance`, lists for tuples);
`ebpfmesh.policy.check` says what is wrong.
"""

from __future__ import annotations

import errno
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec.structs import force_setattr, replace

from ebpfmesh.engine.balance.table import HashKey
from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy import size
from ebpfmesh.policy.address import Endpoint, parse
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.log import Log
from ebpfmesh.policy.reply import Reply
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.series import as_tuple, settle

Protocol = Literal["tcp", "udp"]
L7Protocol = Literal["http1", "http2", "grpc"]
Refusal = Literal["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "EACCES", "EPERM"]

_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]


_NONE = ((), (), (), ())
_HTTP = Http()

_HASH_KEYS = {key.name.lower().replace("_", "-"): key for key in HashKey}


class Backend(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Where connections to a service go."""

    address: str
    """"10.0.0.1:8080" or "[fd00::1]:8080"."""
    weight: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 1
    """0 to 65535, relative to the other backends; 0 takes no new connections."""
    draining: bool = False
    """Takes no new connections and lets those it has finish."""

    @property
    def endpoint(self) -> Endpoint:
        """The parsed address; ConfigError without a path if it is none."""
        return parse(self.address)

    @property
    def effective_weight(self) -> int:
        """The weight for new connections: 0 while draining."""
        return 0 if self.draining else self.weight


class Balance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """How connections are spread over the backends."""

    name: str = "round-robin"
    """A balancer: a built-in one, or one that was registered or installed."""
    table: int | None = None
    """Slots of the table, for the balancers that have a size (maglev: a prime up to 65537); None: by the backends."""
    key: Literal["workload", "source-address", "destination", "mark"] = "workload"
    """What is hashed, for the balancers that pick by hash."""

    @property
    def hash_key(self) -> HashKey:
        """``key`` as the number of the kernel side."""
        return _HASH_KEYS[self.key]


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What clients connect to, and who answers."""

    name: str
    """Unique in the mesh: 1 to 63 bytes of printable text."""
    protocol: Protocol = "tcp"
    addresses: tuple[str, ...] = ()
    """What clients connect to: "10.96.0.10:80", "[fd00::1]:80"; a v4-mapped one is the same as its IPv4 address."""
    backends: tuple[Backend, ...] = ()
    """Who answers; none at all is allowed, and then connecting fails with ``no_backend``."""
    balance: Balance = Balance()
    namespace: str | None = None
    """The path of the one network namespace that the addresses hold in ("/run/netns/blue"); None: in every one."""
    no_backend: Refusal = "ECONNREFUSED"
    """The error of connect() when no backend takes connections."""
    on_error: Literal["fail_closed", "fail_open"] = "fail_closed"
    """What happens when a lookup in the kernel fails: refuse with ``no_backend``, or connect to the address as it is."""
    removed_backends: Literal["finish", "destroy"] = "finish"
    """What happens to connections of a backend that is removed: they finish, or their sockets are destroyed."""
    l7: L7Protocol | None = None
    """What its requests are in; None: connections are all that is seen of it. "grpc" is HTTP/2 that is refused as gRPC."""
    http: Http = Http()
    """How requests are treated, apart from the rules; needs ``l7``."""
    rules: tuple[Rule, ...] = ()
    """Who may do what. Without an allowing rule, everything that none denies; with one, only what one allows."""
    limits: tuple[Limit, ...] = ()
    """How many requests; needs ``l7``. All that match hold."""
    faults: tuple[Fault, ...] = ()
    """Requests that are answered with an error on purpose; needs ``l7``."""
    routes: tuple[Route, ...] = ()
    """Names of requests in metrics; needs ``l7``. The first that matches counts."""
    open_sockets: Literal["leave", "destroy"] = "leave"
    """Connections that were open before the service had ``l7``: left alone and counted, or destroyed, so that clients
    connect again under policy."""

    def __post_init__(self) -> None:
        if type(self.addresses) is not tuple:
            force_setattr(self, "addresses", as_tuple(self.addresses))
        backends = as_tuple(self.backends)
        if type(backends) is tuple and str in map(type, backends):
            backends = tuple([Backend(one) if isinstance(one, str) else one for one in backends])
        if backends is not self.backends:
            force_setattr(self, "backends", backends)
        if isinstance(self.balance, str):
            force_setattr(self, "balance", Balance(self.balance))
        if (self.rules, self.limits, self.faults, self.routes) != _NONE:  # most of 10,000 services have none
            settle(self, rules=None, limits=None, faults=None, routes=None)

    @property
    def has_policy(self) -> bool:
        """Whether it has more than addresses and backends: ``l7``, http settings, rules …; most of 10,000 have not."""
        return (
            self.l7 is not None
            or (self.rules, self.limits, self.faults, self.routes) != _NONE
            or self.open_sockets != "leave"
            or self.http != _HTTP
        )

    @property
    def endpoints(self) -> list[Endpoint]:
        """The parsed addresses, in order; ConfigError without a path if one is none."""
        return [parse(address) for address in self.addresses]

    @property
    def no_backend_errno(self) -> int:
        """``no_backend`` as a number."""
        number: int = getattr(errno, self.no_backend)
        return number


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Room in the kernel's maps; None derives it: twice what the configuration needs, and a floor."""

    services: _Count | None = None
    addresses: _Count | None = None
    backends: _Count | None = None
    slots: Annotated[int, msgspec.Meta(ge=4, le=1 << 28)] | None = None
    """16-bit slots of all tables together."""
    udp_flows: _Count = 65536
    """Reverse translations of unconnected UDP sockets; the least recently used one gives way."""
    l7_connections: _Count = 16384
    """Connections to services with ``l7`` that are open at a time; further ones are as ``http.unjudged`` says."""
    l7_limit_keys: _Count = 65536
    """Keys of limits that are remembered; those that find no room share one allowance a limit."""
    l7_metrics: _Count = 4096
    """Rows of request metrics (service, backend, route, class of status); what finds no room is counted in one."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """A whole mesh."""

    name: str
    """The name of the agent's pins, lock and records: 1 to 63 of a-z, 0-9 and "-"."""
    cgroup: str
    """The cgroup whose processes are clients: a path in the cgroup v2 mount, or relative to it ("/mesh")."""
    services: tuple[Service, ...] = ()
    allow_root_cgroup: bool = False
    """Needed to attach to the root cgroup, which makes every process of the host a client."""
    capacity: Capacity = Capacity()
    memory_budget: int | str = "256MiB"
    """The most kernel memory that the maps may take: bytes, or "256MiB"."""
    workloads: tuple[Workload, ...] = ()
    """Who the clients are, by their cgroups."""
    replies: tuple[Reply, ...] = ()
    """What clients are told in place of a service's answer; rules, limits and faults name them."""
    log: Log = Log()
    """What is told of single requests."""

    def __post_init__(self) -> None:
        settle(self, services=None, workloads=None, replies=None)

    @property
    def memory_budget_bytes(self) -> int:
        """``memory_budget`` as a number; ConfigError without a path if it is no size."""
        return size.parse(self.memory_budget)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {service.name: position for position, service in enumerate(self.services)}

    def by_name(self, name: str) -> Service | None:
        """The service of that name, or None; the lookup table is made once."""
        position = self._positions.get(name)
        return None if position is None else self.services[position]

    def with_service(self, service: Service) -> Config:
        """This configuration with ``service`` in place of the one of its name, or added at the end."""
        position = self._positions.get(service.name)
        if position is None:
            return replace(self, services=(*self.services, service))
        services = list(self.services)
        services[position] = service
        result = replace(self, services=tuple(services))
        # The names are where they were, so the lookup table of 10,000 of them is not made again.
        result.__dict__["_positions"] = self._positions
        return result

    def without(self, name: str) -> Config:
        """This configuration without the service of that name; KeyError if there is none."""
        position = self._positions[name]
        return replace(self, services=self.services[:position] + self.services[position + 1 :])
