"""The names behind the numbers of the kernel's tables: services, backends, rules, limits, routes, workloads."""

from __future__ import annotations

import time
from typing import NamedTuple

from ebpfmesh.observe.opened import Opened
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect.wire import BACKEND, BACKEND_KEY, SERVICE_RECORD
from ebpfmesh.tiers.l7.tables import NAMES
from ebpfmesh.tiers.l7.wire import NAME_ENTRY

MAPS = ("services", "backends", *NAMES.values())
"""What `Names` reads."""

_FRESH = 1.0  # seconds for which a number without a name is not looked for again
_STALE = 5.0  # seconds after which a number may have come to another: it is given out again some time


class Named(NamedTuple):
    """A name, the number of the service whose it is, and its action (``enum l7_action``)."""

    text: str
    service: int
    action: int


class Names:
    """Looks names up. What is in an array is read each time; services and backends, which are in hashes, now and then.

    A number without a name, whose owner is gone, is shown as "#7".
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._services: dict[int, str] = {}
        self._by_counter: dict[int, str] = {}
        self._by_id: dict[tuple[int, int], str] = {}
        self._read_at = -_STALE

    def services(self) -> dict[int, str]:
        """All services of the mesh, by number, those that leave included."""
        self._read()
        return dict(self._services)

    def service(self, number: int) -> str:
        """The name of a service."""
        self._refresh(known=number in self._services)
        return self._services.get(number) or f"#{number}"

    def backend_of_counter(self, counter: int) -> str:
        """The address of the backend whose counters are the element ``counter``."""
        self._refresh(known=counter in self._by_counter)
        return self._by_counter.get(counter) or f"#{counter}"

    def backend(self, service: int, number: int) -> str | None:
        """The address of a service's backend by its id; None for 0, which is none."""
        if not number:
            return None
        self._refresh(known=(service, number) in self._by_id)
        return self._by_id.get((service, number)) or f"#{number}"

    def find(self, kind: str, number: int) -> Named | None:
        """The name of a "rule", "limit", "route" or "workload"; None for 0, which is none."""
        table = NAMES[kind]
        if not number:
            return None
        if number < self._opened.size(table):
            service, action, text = NAME_ENTRY.unpack(self._opened.row(table, number))
            if text := text.partition(b"\0")[0]:
                return Named(text.decode(errors="replace"), service, action)
        return Named(f"#{number}", 0, 0)

    def text(self, kind: str, number: int) -> str | None:
        """The same, its text alone."""
        found = self.find(kind, number)
        return found.text if found else None

    def _refresh(self, *, known: bool) -> None:
        if time.monotonic() - self._read_at >= (_STALE if known else _FRESH):
            self._read()

    def _read(self) -> None:
        """Names of services and backends that are gone stay known, for the entries that still tell of them."""
        self._read_at = time.monotonic()
        for key, record in self._opened.pairs("services"):
            self._services[SERVICE_RECORD.unpack(record)[1]] = key.partition(b"\0")[0].decode()
        for key, backend in self._opened.pairs("backends"):
            packed, port, counter = BACKEND.unpack(backend)
            shown = str(Endpoint(packed, port))
            self._by_counter[counter] = self._by_id[BACKEND_KEY.unpack(key)] = shown
