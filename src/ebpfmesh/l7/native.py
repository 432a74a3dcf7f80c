"""The native engine: a core as machine code, called through cffi. The built-in cores are one library in the package.

    core = native.builtin("http1")
    connection = core.connection(Config())
    connection.feed(REQUEST, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")

A connection may be used by several threads: its calls follow one another. Calls of different connections run at the
same time, since the interpreter's lock is released meanwhile.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

from ebpfmesh.errors import ClosedError, HostError, SpecError
from ebpfmesh.l7.contract import Bytes, Config, RawEvent, raw_events

try:
    from ebpfmesh.l7._native import ffi
except ModuleNotFoundError as error:  # a source tree that was never built
    raise HostError("ebpfmesh was not built", remedy="run `make objects`, or `pip install .`") from error

__all__ = ["LIBRARY", "Core", "NativeConnection", "builtin", "load"]

LIBRARY = Path(__file__).parents[1] / "bpf/native/libebpfmesh_l7.so"
"""The library of the built-in cores, and of what drives a core."""

_ENDED = -2  # enum l7_feed_failure
_NO_DETECTOR = -2
_UNDECIDED = -1
_PIECE = 1 << 16  # more is given in pieces, or the events of one call could take any amount of memory
_SIZES = ("window_size", "state_size", "config_size", "record_size")
_REMEDY = "build it again with the installed version: ebpfmesh build-parser"


class Core:
    """One ``l7_core_NAME`` of a library that is loaded. Make one with `builtin` or `load`."""

    __slots__ = ("_core", "library", "name")

    def __init__(self, name: str, library: Path, core: Any) -> None:
        self.name, self.library, self._core = name, library, core

    def __repr__(self) -> str:
        return f"Core({self.name!r}, library={str(self.library)!r})"

    @property
    def tables_size(self) -> int:
        """Bytes of the core's own tables, a connection's."""
        return int(self._core.tables_size)

    @property
    def has_detect(self) -> bool:
        """Whether it can say if bytes are of its protocol."""
        return bool(self._core.detect)

    def connection(self, config: Config | None = None) -> NativeConnection:
        """A new connection; ``config.leniency_bits`` are what the core knows of leniencies.

        Errors: HostError if there is no memory for it.
        """
        return NativeConnection(self, config or Config())

    def detect(self, prefix: Bytes, direction: int) -> int | None:
        """How sure, from 0 to 100, the core is that a direction which begins with ``prefix`` is of its protocol.

        Only the first 4096 bytes are looked at. None: these are too few to say. A core without detector says 0.
        """
        answer: int = _lib().l7_detect(self._core, direction, _pointer(prefix), len(prefix))
        if answer == _UNDECIDED:
            return None
        return 0 if answer == _NO_DETECTOR else answer


class NativeConnection:
    """Both directions of one connection, driven over a core; see `Core.connection`."""

    __slots__ = ("_connection", "_feed", "_lock", "_room", "_view", "core")

    def __init__(self, core: Core, config: Config) -> None:
        library = _lib()
        connection = library.l7_open(core._core, config.pack())
        if not connection:
            raise HostError("no memory for a connection", where=f"parser {core.name}")
        self.core = core
        self._connection = ffi.gc(connection, library.l7_close)
        self._feed = library.l7_feed
        self._lock = threading.Lock()
        self._room = 0
        self._view: Any = b""

    def feed(self, direction: int, data: Bytes, *, end: bool = False) -> list[RawEvent]:
        """Give it the next bytes of a direction, and with ``end`` its end; what the core tells, in order.

        Errors: ClosedError for bytes after the end of their direction; HostError if there is no memory for the events.
        """
        return raw_events(self.told(direction, data, end=end))

    def told(self, direction: int, data: Bytes, *, end: bool = False) -> bytes:
        """As `feed`; the events as a stream of ``struct l7_event``, which `raw_events` reads."""
        if type(data) is not bytes or len(data) > _PIECE:
            return self._told_in_pieces(direction, data, end)
        with self._lock:
            length = self._feed(self._connection, direction, data, len(data), end)
            if length > self._room or length < 0:
                self._look(length)
            told: bytes = self._view[:length]
            return told

    def _told_in_pieces(self, direction: int, data: Bytes, end: bool) -> bytes:
        told = []
        with self._lock, memoryview(data) as view, view.cast("B") as octets:
            for at in range(0, len(octets) or 1, _PIECE):
                piece = octets[at : at + _PIECE]
                last = at + _PIECE >= len(octets)
                length = self._feed(
                    self._connection, direction, ffi.from_buffer(piece), len(piece), end and last
                )
                if length > self._room or length < 0:
                    self._look(length)
                told.append(self._view[:length])
            _lib().l7_shrink(self._connection)
            self._room = min(self._room, int(_lib().l7_room(self._connection)))
        return b"".join(told)

    def lost(self, direction: int, count: int) -> None:
        """``count`` bytes of a direction are missing here: the capture did not see them."""
        if count < 0:
            raise ValueError(f"{count} bytes cannot be lost")
        with self._lock:
            _lib().l7_miss(self._connection, direction, count)

    def position(self, direction: int) -> int:
        """How many bytes of a direction were given, or lost."""
        return int(_lib().l7_flow_of(self._connection, direction).position)

    def op(self, direction: int) -> int:
        """The last operation of a direction: a number of `contract.Op`."""
        return int(_lib().l7_flow_of(self._connection, direction).op)

    def _look(self, length: int) -> None:
        """The events moved, or there are none because of a failure."""
        if length == _ENDED:
            raise ClosedError("bytes after the end of their direction", where=f"parser {self.core.name}")
        if length < 0:
            raise HostError("no memory for the events", where=f"parser {self.core.name}")
        self._room = int(_lib().l7_room(self._connection))
        self._view = ffi.buffer(_lib().l7_events(self._connection), self._room)


# --- libraries --------------------------------------------------------------------------------------------------------


@cache
def builtin(name: str) -> Core:
    """The built-in core ``name``, from the library in the package.

    Errors: HostError if the library was not built; SpecError if it holds no such core.
    """
    return _core(_opened(LIBRARY), LIBRARY, name)


@cache
def load(path: Path, name: str) -> Core:
    """The core ``name`` of somebody else's library, as ``ebpfmesh build-parser`` makes it.

    It stays loaded: code that was called cannot be taken out of a process. The library's constructors run.

    Errors: SpecError if the file cannot be loaded, has no ``l7_core_NAME``, or was built with other sizes than this
    version's, naming both.
    """
    path = path.resolve()
    core = _core(_opened(path), path, name)
    _compare(core)
    return core


def _core(handle: Any, path: Path, name: str) -> Core:
    if not name.isidentifier() or not name.isascii():
        raise SpecError(f"{name!r} cannot be the name of a core", where=str(path))
    symbol = _lib().dlsym(handle, f"l7_core_{name}".encode())
    if not symbol:
        raise SpecError(f"has no core {name}: there is no symbol l7_core_{name}", where=str(path))
    return Core(name, path, ffi.cast("const struct l7_core *", symbol))


def _compare(core: Core) -> None:
    """SpecError if the core was built with other sizes: the contract is versioned by them."""
    theirs, ours = core._core, _lib().l7_sizes
    # nothing behind size may be believed before size is
    names = ("size",) if theirs.size != ours.size else _SIZES
    for name in names:
        if getattr(theirs, name) != getattr(ours, name):
            what = "struct l7_" + ("core" if name == "size" else name.removesuffix("_size"))
            raise SpecError(
                f"core {core.name} was built with another parser.h: {what} has {getattr(theirs, name)} bytes there "
                f"and {getattr(ours, name)} here",
                where=str(core.library),
                remedy=_REMEDY,
            )


def _opened(path: Path) -> Any:
    """dlopen(3)'s handle."""
    if path == LIBRARY:
        _lib()
    elif not path.is_file():
        raise SpecError("no such file", where=str(path), remedy="name the library that build-parser made")
    handle = _lib().dlopen(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)
    if not handle:
        raise SpecError(_reason(path), where=str(path), remedy=_REMEDY)
    return handle


def _reason(path: Path) -> str:
    """What dlerror(3) says, without the name of the file, which the error has already."""
    told = _lib().dlerror()
    text: bytes = ffi.string(told) if told else b"it cannot be loaded"
    return text.decode("utf-8", "replace").removeprefix(f"{path}: ")


@cache
def _lib() -> Any:
    """The library in the package."""
    try:
        return ffi.dlopen(os.fspath(LIBRARY))
    except OSError as error:
        raise HostError(
            f"the library of the parser cores cannot be loaded: {error}",
            where=str(LIBRARY),
            remedy="run `make objects`, or install the wheel of this machine's architecture",
        ) from error


def _pointer(data: Bytes) -> Any:
    return data if type(data) is bytes else ffi.from_buffer(data)
