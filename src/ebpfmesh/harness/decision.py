"""The decision of the L7 tier in the kernel, without a socket: a request, the tables of a policy, and what comes of it.

    with decision.load() as kernel:
        kernel.install(compiled.version, compiled.tables, service=3)
        kernel.decide(Asked.of(method=b"GET", path=b"/admin"), service=3).allowed

It runs ``authorise.bpf.c``, which is the very code that the programs of sockets call (``authorise/judge.h``).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Self, TypedDict, Unpack

from ebpfmesh import objects
from ebpfmesh.errors import EbpfMeshError, SpecError
from ebpfmesh.harness.memory import PACKET
from ebpfmesh.layout import Struct
from ebpfmesh.objects import Objects
from ebpfmesh.objects.load import Openable
from ebpfmesh.spec import MapFlags

PLACES = 4
"""``L7_TRIALS``: as many threads may decide at a time, each at a place of its own."""

# struct l7_record up to text, of which nothing but what is present is looked at
_HEAD = struct.Struct("=IHHIIQQQIIII")
_VALUE = struct.Struct("=II")
_FIELDS, _TEXT, _RECORD = 32, 4096, 4472
# struct l7_trial: flags, source, now, first, last, runs, allowed
_TRIAL = struct.Struct("=IiQQQQQ")
_SOURCE, _HTTP1 = 1, 2
# struct l7_decision, what is asked: generation, now, service, policy, workload, address
_QUESTION = struct.Struct("=QQIII16s")
# struct __sk_buff up to mark, and room behind it: the kernel gives all of its own back
_MARK = struct.Struct("<8xI244x")
# of the tier's maps that this program has and does not use
_UNUSED = ("l7_connections", "l7_parts", "l7_sockets", "l7_sent", "l7_received")
METHOD, PATH, HOST = 0, 2, 3
"""Fields (``enum http_field``); the path is what was sent, without query."""


class Asked(NamedTuple):
    """A request as the parser tells it: the fields of ``enum http_field``."""

    fields: Mapping[int, bytes | int]
    repeated: Collection[int] = ()
    truncated: Collection[int] = ()

    @classmethod
    def of(
        cls,
        *,
        method: bytes = b"GET",
        path: bytes | None = b"/",
        host: bytes | None = None,
        others: Mapping[int, bytes | int] | None = None,
        repeated: Collection[int] = (),
        truncated: Collection[int] = (),
    ) -> Asked:
        """Of its parts; None is what it has not."""
        named = {METHOD: method, PATH: path, HOST: host}
        fields: dict[int, bytes | int] = {one: value for one, value in named.items() if value is not None}
        return cls(fields | dict(others or {}), repeated, truncated)

    def pack(self) -> bytes:
        """``struct l7_record``. Errors: ValueError if its texts are longer than a record's."""
        values, texts, used = [b"\0" * 8] * _FIELDS, [], 0
        for number, value in self.fields.items():
            if isinstance(value, int):
                values[number] = struct.pack("=Q", value)
                continue
            values[number] = _VALUE.pack(used, len(value))
            texts.append(value)
            used += len(value)
        if used > _TEXT:
            raise ValueError(f"{used} bytes of text where {_TEXT} have room")
        bits = (_bits(self.fields), _bits(self.repeated), _bits(self.truncated))
        head = _HEAD.pack(_RECORD, 1, 0, 0, 0, 0, 0, 0, *bits, used)
        return (head + b"".join(values) + b"".join(texts)).ljust(_RECORD, b"\xa5")


class Source(NamedTuple):
    """Where a request comes from, to be looked up as for a connection: ids of cgroups, from the root's down to its own."""

    cgroups: tuple[int, ...] = ()
    address: bytes = bytes(16)
    """128 bits in network order, IPv4 as v4-mapped."""
    port: int = 0


class Context(TypedDict, total=False):
    """What is known beside the request."""

    service: int
    """Its number; 1 unless given."""
    generation: int
    """1 unless given."""
    now: int
    """Nanoseconds; 0, as it is unless given: the kernel's clock."""
    source: Source
    """Policy and workload are looked up for it; else they are those given here, with the client's address."""
    policy: int
    workload: int
    address: bytes
    http1: bool
    """Whether it is a request of HTTP/1, to which more applies; not, unless given."""


class Decided(NamedTuple):
    """What came of it: ``struct l7_decision``."""

    allowed: bool
    reason: int
    """``enum l7_reason``."""
    audited: bool
    rule: int
    list: int
    reply: int
    route: int
    limit: int
    retry_after: int
    """Nanoseconds."""
    policy: int
    workload: int
    path: bytes | None
    """Normalised; None if there is none, it cannot be, or nobody asks."""


class Trials(NamedTuple):
    """Many decisions of one request: how many, how many were allowed, and when the first and the last began."""

    runs: int
    allowed: int
    first: int
    last: int
    nanoseconds: int
    """Of one, as the kernel measured it."""


class DecisionEngine:
    """The loaded decision; make one with `load`. ``maps`` are its tables, the tier's by their names.

    Places are independent of each other; one place is for one thread at a time.
    """

    def __init__(self, loaded: Objects) -> None:
        self.loaded, self.maps = loaded, loaded.maps
        self.program = loaded.programs["authorise_tc"]
        self._keys: dict[str, set[bytes]] = {}
        self._rows: dict[str, set[int]] = {}
        with ExitStack() as undo:
            self._memory = {
                name: undo.enter_context(each.mmap())
                for name, each in loaded.maps.items()
                if loaded.spec.maps[name].flags & MapFlags.MMAPABLE
            }
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload it. Twice is harmless."""
        self._undo.close()
        self.loaded.close()

    # --- tables ----------------------------------------------------------------------------------------------------------

    def write(self, tables: Mapping[str, Mapping[int | bytes, bytes]]) -> None:
        """Write rows of tables: by element for arrays, by packed key for the others.

        Tables of the tier that no decision reads, as those of replies, are left out.
        """
        for name, rows in tables.items():
            table = self.maps.get(name)
            if table is None:
                continue
            for key, value in rows.items():
                if isinstance(key, int):
                    memory = self._memory[name]
                    start = key * memory.stride
                    memory.buffer[start : start + len(value)] = value
                    self._rows.setdefault(name, set()).add(key)
                else:
                    table.update_raw(key, value)
                    self._keys.setdefault(name, set()).add(key)

    def clear(self) -> None:
        """Take out all that `write` wrote, and all buckets."""
        for name, elements in self._rows.items():
            memory = self._memory[name]
            for number in elements:
                start = number * memory.stride
                memory.buffer[start : start + memory.stride] = bytes(memory.stride)
        for name, keys in self._keys.items():
            for key in keys:
                self.maps[name].delete_raw(key)
        self._rows, self._keys = {}, {}
        self.maps["l7_buckets"].clear()

    def install(
        self,
        version: bytes,
        tables: Mapping[str, Mapping[int | bytes, bytes]],
        *,
        service: int = 1,
        generation: int = 1,
        key: tuple[int, int] = (0, 0),
    ) -> None:
        """Put a service in force: its version (``struct l7_service``) and tables, the key of all digests."""
        settings = struct.pack("=QQQ", generation, *key)
        entry = struct.pack("=Q", generation << 1) + version
        self.write({**tables, "l7_settings": {0: settings}, "l7_services": {service: entry}})

    # --- decisions -------------------------------------------------------------------------------------------------------

    def decide(self, asked: Asked, *, place: int = 0, **context: Unpack[Context]) -> Decided:
        """Decide one request. Errors: CapabilityError, ClosedError."""
        self._ask(asked, place, context)
        self._run(place, 1)
        found = self._memory["l7_decisions"][place]
        return Decided(
            allowed=bool(found.allowed),
            reason=found.reason,
            audited=bool(found.audited),
            rule=found.rule,
            list=found.list,
            reply=found.reply,
            route=found.route,
            limit=found.limit,
            retry_after=found.retry_after,
            policy=found.policy,
            workload=found.workload,
            path=found.path[: found.path_length] if found.path_ok == 1 else None,
        )

    def measure(self, asked: Asked, *, repeat: int, place: int = 0, **context: Unpack[Context]) -> Trials:
        """Decide one request ``repeat`` times, in one call of the kernel; limits are taken from each time."""
        self._ask(asked, place, context)
        nanoseconds = self._run(place, repeat)
        _, _, _, first, last, runs, allowed = _TRIAL.unpack(self._slice("l7_trials", place, _TRIAL.size))
        return Trials(runs, allowed, first, last, nanoseconds)

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _ask(self, asked: Asked, place: int, context: Context) -> None:
        service, source = context.get("service", 1), context.get("source")
        self._slice("l7_records", place, _RECORD)[:] = asked.pack()
        flags = (_SOURCE if source else 0) | (_HTTP1 if context.get("http1") else 0)
        trial = _TRIAL.pack(flags, 0, context.get("now", 0), 0, 0, 0, 0)
        self._slice("l7_trials", place, _TRIAL.size)[:] = trial
        question = _QUESTION.pack(
            context.get("generation", 1),
            0,
            service,
            context.get("policy", 0),
            context.get("workload", 0),
            context.get("address", bytes(16)),
        )
        self._slice("l7_decisions", place, len(question))[:] = question
        if source:
            self._put_client(place, service, source)

    def _put_client(self, place: int, service: int, source: Source) -> None:
        layout = self.maps["l7_clients"].value
        client = bytearray(layout.size)
        for name, packed in (
            ("cgroups", struct.pack(f"={len(source.cgroups)}Q", *source.cgroups)),
            ("service", struct.pack("=I", service)),
            ("address", source.address),
            ("port", struct.pack("=H", source.port)),
        ):
            start = _offset(layout, name)
            client[start : start + len(packed)] = packed
        self._slice("l7_clients", place, layout.size)[:] = client

    def _slice(self, name: str, place: int, size: int) -> memoryview:
        memory = self._memory[name]
        found: memoryview = memory.buffer[place * memory.stride : place * memory.stride + size]
        return found

    def _run(self, place: int, repeat: int) -> int:
        result = self.program.test_run(PACKET, room=0, context=_MARK.pack(place), repeat=repeat)
        if result.value:
            raise EbpfMeshError("there is no such place", where=f"place {place} of {PLACES}")
        return result.duration_ns


def load(
    *,
    reuse: Mapping[str, Openable] | None = None,
    capacities: Mapping[str, int] | None = None,
    path: Path | str | None = None,
) -> DecisionEngine:
    """Load the decision, with tables of its own, or with those that ``reuse`` names: open maps, or the paths of pins.

    Never let it reuse ``l7_buckets``, ``l7_limit_stats`` and ``l7_limit_full``: it takes from limits. ``capacities``:
    elements of tables that are to have others than the program says.

    Errors: SpecError (not built with this version's headers), LoadError, LayoutError, VerifierError, CapabilityError.
    Minimum kernel: 5.17 (commit e6f2dd0f8067). Capabilities: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN.
    """
    place = Path(path) if path else Path(str(resources.files("ebpfmesh.bpf"))) / "authorise.bpf.o"
    if not place.exists():
        raise SpecError("there is no such object", where=str(place), remedy="run `make objects`")
    unused = {name: 1 for name in _UNUSED if name not in (reuse or {})}
    loaded = objects.load(place, reuse=reuse, max_entries={**unused, **(capacities or {})})
    try:
        for name, found, wanted in (
            ("l7_record", loaded.maps["l7_records"].value_size, _RECORD),
            ("l7_trial", loaded.maps["l7_trials"].value_size, _TRIAL.size),
            (
                "l7_decision up to address",
                _offset(loaded.maps["l7_decisions"].value, "address") + 16,
                _QUESTION.size,
            ),
        ):
            if found != wanted:
                raise SpecError(f"struct {name} has {found} bytes there and {wanted} here", where=str(place))
        return DecisionEngine(loaded)
    except BaseException:
        loaded.close()
        raise


def _bits(numbers: Collection[int]) -> int:
    return sum(1 << number for number in set(numbers))


def _offset(layout: Struct, name: str) -> int:
    return next(field.offset for field in layout.fields if field.name == name)
