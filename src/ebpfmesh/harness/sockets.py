"""Sockets: a core parses what real sockets send and receive, in sk_msg and sk_skb, and passes all of it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import NamedTuple, Self

from ebpfmesh import hooks
from ebpfmesh.errors import CapacityError, ClosedError, MapError, MapKeyError
from ebpfmesh.harness.engine import KernelEngine
from ebpfmesh.harness.structures import LINKS, PORTS, SIZES, Counter
from ebpfmesh.l7.contract import Config, RawEvent, raw_events

_HEAD = 8  # bytes before each event in the ring: the number of the link


class SocketEvent(NamedTuple):
    """What the core told of an enrolled socket: the number that `Sockets.enrol` gave, and the event."""

    link: int
    raw: RawEvent


class Sockets:
    """Connected TCP sockets whose bytes a core sees: requests as they are sent, responses as they are received.

    Both programs are attached to a map of this engine alone; only enrolled sockets have them, up to 15 at a time. A socket
    leaves the map when it is closed, and not before: a live one would lose unread data.
    The verdict program is there also because a socket without one tells FIONREAD 0 (929e30f93125).

    Use it as a context manager. Minimum kernel: 5.17. Capabilities: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN.
    """

    def __init__(self, engine: KernelEngine, config: Config | None = None) -> None:
        engine.require_open()
        self._engine, self._config = engine, (config or Config()).pack()
        self._maps = engine.loaded.maps
        with ExitStack() as undo:
            sockets, programs = self._maps["l7_sockets"], engine.loaded.programs
            undo.enter_context(hooks.SK_MSG.attach(programs[f"{engine.name}_sk_msg"], sockets))
            undo.enter_context(hooks.SK_SKB_STREAM_VERDICT.attach(programs[f"{engine.name}_sk_skb"], sockets))
            self._attached = undo.pop_all()
        self._open = True
        self._where = f"parser {engine.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach the programs; sockets that were enrolled keep theirs until they are closed."""
        self._open = False
        if self._engine.is_ours():  # a child of fork(2) would take them from its parent
            self._attached.close()

    def enrol(self, one: socket.socket) -> int:
        """Let the core see what ``one`` sends and receives from now on; returns the number of its link.

        Errors: CapacityError (15 are enrolled), MapKeyError (it is enrolled), MapError (not an established TCP socket),
        ClosedError.
        """
        if not self._open:
            raise ClosedError("the programs are detached", where=self._where)
        self._engine.require_open()
        sockets, ports = self._maps["l7_sockets"], self._maps["l7_ports"]
        key = _ports(one)
        known = ports.lookup_raw(key)
        if known is not None and sockets.lookup_raw(known) is not None:
            raise MapKeyError("the socket is enrolled already", where=self._where)
        number = next((each for each in range(1, LINKS) if sockets.lookup_raw(_u32(each)) is None), 0)
        if not number:  # 0 is the one that is fed by hand
            raise CapacityError(f"{LINKS - 1} sockets are enrolled", where=self._where)
        memory = self._engine.memory
        memory.put(self._config, bytes(SIZES["l7_link"]), bytes(memory.tables_size), number)
        ports.update_raw(key, _u32(number))
        try:
            sockets[number] = one
        except MapError:
            ports.delete_raw(key)
            raise
        return number

    def events(self) -> list[SocketEvent]:
        """What was told since the last call, in order. Errors: ClosedError in another process than the engine's."""
        self._engine.require_open()
        found = []
        for record in self._maps["l7_events"].drain():
            number = int.from_bytes(record[:_HEAD], "little")
            found += [SocketEvent(number, raw) for raw in raw_events(record[_HEAD:])]
        return found

    def counters(self) -> dict[Counter, int]:
        """What the two programs counted since the engine was loaded."""
        return {each: self._maps["l7_counters"][each] for each in Counter}


def _ports(one: socket.socket) -> bytes:
    """``struct l7_ports`` of a connected socket. Errors: MapError."""
    try:
        return PORTS.pack(one.getsockname()[1], bytes(2) + one.getpeername()[1].to_bytes(2, "big"))
    except OSError as error:
        raise MapError("enrolling a socket that is not connected", errno=error.errno or 0) from error


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
