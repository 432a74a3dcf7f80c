"""The programs of ``measured.h``, loaded and run by hand, and their maps pinned as a mesh's are."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any, Self

from ebpfmesh import maps, objects
from ebpfmesh.observe import Observer
from ebpfmesh.ownership import PinDirectory
from ebpfmesh.policy.address import V4_MAPPED, parse
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.spec.enums import MapType
from ebpfmesh.testing import compile_bpf
from ebpfmesh.tiers.connect.wire import BACKEND, BACKEND_KEY, SERVICE_NAME, SERVICE_RECORD
from ebpfmesh.tiers.l7.wire import NAME_ENTRY

SOURCE = f'#include "{Path(__file__).with_name("measured.h")}"\n'
COUNT, TELL, TELL_CONNECTION, BUCKET, CLOSE = range(5)
_INPUT = struct.Struct("=8I3Q")
_TEXT = {"method": 0, "path": 2, "host": 3, "traceparent": 13}
"""enum http_field."""


def spec() -> ObjectSpec:
    """The object."""
    return ObjectSpec.from_bytes(compile_bpf(SOURCE), name="measured")


def changed(value: Any, **fields: Any) -> dict[str, Any]:
    """A struct's value with other fields."""
    return {**dict(zip(value._fields, value, strict=True)), **fields}


class Measuring:
    """One loaded object. ``count`` and ``tell`` do what the tier's programs do; ``pin`` makes it a mesh to be observed."""

    def __init__(self, **options: Any) -> None:
        self.loaded = objects.load(spec(), programs=["measured_tc"], **options)
        self.maps: dict[str, Any] = dict(self.loaded.maps)
        for name, key, value in (
            ("services", SERVICE_NAME, SERVICE_RECORD),
            ("backends", BACKEND_KEY, BACKEND),
        ):
            self.maps[name] = maps.create(
                MapType.HASH, name=name, key_size=key.size, value_size=value.size, max_entries=64
            )
        self._mapped = {name: self.maps[name].mmap() for name in ("input", "records", "decisions", "links")}

    def close(self) -> None:
        """Unload."""
        for mapped in self._mapped.values():
            mapped.close()
        for name in ("services", "backends"):
            self.maps[name].close()
        self.loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- what the agent writes ------------------------------------------------------------------------------------------

    def service(self, number: int, name: str, *backends: str) -> None:
        """A service of the connect tier; its backends have the ids 1, 2 … and the counters 10 * number, …"""
        record = SERVICE_RECORD.pack(0, number, 6, 0, 0, 0, 0, b"", 0)
        self.maps["services"].update_raw(SERVICE_NAME.pack(name.encode()), record)
        for position, backend in enumerate(backends):
            packed, port = parse(backend)
            self.maps["backends"].update_raw(
                BACKEND_KEY.pack(number, position + 1), BACKEND.pack(packed, port, 10 * number + position)
            )

    def name(self, table: str, number: int, text: str, *, service: int = 0, action: int = 0) -> None:
        """A name of l7_TABLE_names."""
        self.maps[f"l7_{table}_names"].update_raw(
            struct.pack("=I", number), NAME_ENTRY.pack(service, action, text.encode())
        )

    def settings(self, *, interval: int = 0, burst: int = 0, sample: int = 0) -> None:
        """The bounds of the log."""
        self.maps["l7_settings"].update_raw(bytes(4), struct.pack("=6Q", 0, 0, 0, interval, burst, sample))

    # --- what the programs do -------------------------------------------------------------------------------------------

    def run(self, *words: int, repeat: int = 1) -> int:
        """Run with the input ``words``; nanoseconds of one run."""
        self._mapped["input"].buffer[: _INPUT.size] = _INPUT.pack(*words)
        return int(self.loaded.programs["measured_tc"].test_run(bytes(64), room=0, repeat=repeat).duration_ns)

    def bucket(self, nanoseconds: int) -> int:
        """The bucket of a latency."""
        self.run(BUCKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, nanoseconds)
        return int(struct.unpack_from("=I", self._mapped["input"].buffer, 28)[0])

    def count(
        self, service: int, backend: int, route: int, status: int, *, sent: int = 100, received: int = 200,
        nanoseconds: int = 50_000, repeat: int = 1,
    ) -> int:  # fmt: skip
        """Count a request."""
        return self.run(
            COUNT, 0, status, 0, service, backend, route, 0, sent, received, nanoseconds, repeat=repeat
        )

    def tell(
        self, *, allowed: bool = False, reason: int = 1, audited: bool = False, service: int = 0, workload: int = 0,
        rule: int = 0, route: int = 0, kind: int = 0, status: int = 0, retry_after: int = 0, now: int = 1,
        client: str | None = None, cookie: int = 0, stream: int = 0, backend: int = 0, protocol: int = 1,
        repeat: int = 1, **texts: bytes,
    ) -> int:  # fmt: skip
        """Tell a decision about a request with such a method, path, host, traceparent."""
        self._record(stream, texts)
        address = V4_MAPPED + socket.inet_aton(client) if client else bytes(16)
        decision = self.maps["decisions"].value.unpack(bytes(self.maps["decisions"].value_size))
        decision = changed(
            decision, now=now, service_number=service, workload=workload, address=struct.unpack("=4I", address),
            allowed=int(allowed), reason=reason, audited=int(audited), rule=rule, route=route,
            retry_after=retry_after, list=7, policy=3,
        )  # fmt: skip
        self.maps["decisions"][0] = decision
        self._link(cookie, service, backend=backend, workload=workload, address=address, protocol=protocol)
        return self.run(TELL, kind, status, 0, 0, 0, 0, 0, 0, 0, 0, repeat=repeat)

    def tell_connection(
        self, kind: int, *, allowed: bool = False, service: int = 0, cookie: int = 0, repeat: int = 1
    ) -> int:
        """Tell of a connection about which nothing was decided."""
        self._link(cookie, service, backend=0, workload=0, address=bytes(16), protocol=0)
        return self.run(TELL_CONNECTION, kind, 0, int(allowed), 0, 0, 0, 0, 0, 0, 0, repeat=repeat)

    def close_connection(
        self, requests: list[tuple[int, int]], *, answered: int, status: int = 0, received: int = 0, flags: int = 0,
        service: int = 1, counter: int = 10,
    ) -> int:  # fmt: skip
        """A connection closes on which these (route, bytes) are in flight, after ``answered`` others."""
        link = self.maps["links"].value.unpack(bytes(self.maps["links"].value_size))
        in_flight = list(link.in_flight)
        for number, (route, sent) in enumerate(requests, answered):
            in_flight[number % len(in_flight)] = {"since": time.monotonic_ns(), "route": route, "sent": sent}
        self.maps["links"][0] = changed(
            link, service=service, counter=counter, flags=flags, status=status, received=received, answered=answered,
            asked=answered + len(requests), in_flight=in_flight,
        )  # fmt: skip
        return self.run(CLOSE, *[0] * 10)

    def _record(self, stream: int, texts: dict[str, bytes]) -> None:
        present, used, fields = 0, 0, bytearray(32 * 8)
        for name, text in texts.items():
            struct.pack_into("=II", fields, 8 * _TEXT[name], used, len(text))
            present |= 1 << _TEXT[name]
            used += len(text)
        head = struct.pack("=IHHIIQQQIIII", 0, 1, 0, 0, 0, stream, 0, 0, present, 0, 0, used)
        record = head + fields + b"".join(texts.values())
        self._mapped["records"].buffer[: len(record)] = record

    def _link(
        self, cookie: int, service: int, *, backend: int, workload: int, address: bytes, protocol: int
    ) -> None:
        link = self.maps["links"].value.unpack(bytes(self.maps["links"].value_size))
        self.maps["links"][0] = changed(
            link, cookie=cookie, service=service, backend=backend, workload=workload, protocol=protocol,
            address=struct.unpack("=4I", address),
        )  # fmt: skip

    # --- seen from outside ----------------------------------------------------------------------------------------------

    def pin(self, bpffs: Path, name: str = "shop") -> Observer:
        """Pin every map as those of the mesh ``name``; who observes it."""
        pins = PinDirectory(bpffs, name)
        pins.create()
        for map_name, map in self.maps.items():
            if map_name.startswith("l7_") or map_name in ("services", "backends"):
                pins.pin_map(map_name, map, "")
        pins.close()
        return Observer(PinDirectory(bpffs, name))
