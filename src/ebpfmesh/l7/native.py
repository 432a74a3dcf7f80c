"""The native engine: a core as machine code, called through cffi. The built-in cores are one library in the package.

    core = native.builtin("http1")
    connection = core.connection(Config())
    connection.feed(REQUEST, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")

A connection is for one thread at a time. Connections of different threads work at the same time, since the
interpreter's lock is released while a core runs.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from ebpfmesh.errors import ClosedError, EbpfMeshError, HostError, SpecError
from ebpfmesh.l7.contract import EVENT, FIELDS, Bytes, Config, Direction, RawEvent, raw_events

try:
    from ebpfmesh.l7._native import ffi
except ModuleNotFoundError as error:  # a source tree that was never built
    raise HostError("ebpfmesh was not built", remedy="run `make objects`, or `pip install .`") from error

__all__ = ["LIBRARY", "Core", "NativeConnection", "builtin", "load"]

LIBRARY = Path(__file__).parents[1] / "bpf/native/libebpfmesh_l7.so"
"""The library of the built-in cores, and of what drives a core."""

_BUSY, _ENDED = -1, -2  # enum l7_feed_failure
_AND_END = 1 << 62  # L7_AND_END: with the length, that nothing comes after it
_UNDECIDED, _NO_DETECTOR = -1, -2
_ENOUGH = 65536  # L7_EVENTS_ENOUGH: with so many bytes of events, some of the input may not be parsed yet
_EVENTS = _ENOUGH + EVENT.size + 8 * FIELDS + (1 << 16)  # bytes of the largest answer: L7_EVENT_ROOM more
_SPARE = 64  # connections of a core that are kept for the next; making one costs the kernel some 10 us
_SPARE_TABLES = 4096  # … unless it has large tables: clearing them costs more
_DEFAULT = Config()
_SIZES = ("window_size", "state_size", "config_size", "record_size")
_REMEDY = "build it again with the installed version: ebpfmesh build-parser"


class Core:
    """One ``l7_core_NAME`` of a library that is loaded. Make one with `builtin` or `load`."""

    __slots__ = ("_config", "_core", "_spare", "library", "name")

    def __init__(self, name: str, library: Path, core: Any) -> None:
        self.name, self.library, self._core = name, library, core
        self._config = (_DEFAULT, _DEFAULT.pack())
        self._spare: list[Any] = []

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

    def connection(self, config: Config = _DEFAULT) -> NativeConnection:
        """A new connection; ``config.leniency_bits`` are what the core knows of leniencies.

        Errors: HostError if there is no memory for it.
        """
        return NativeConnection(self, config)

    def detect(self, prefix: Bytes, direction: int) -> int | None:
        """How sure, from 0 to 100, the core is that a direction which begins with ``prefix`` is of its protocol.

        Only the first 4096 bytes are looked at. None: these are too few to say. A core without detector says 0.
        """
        data = prefix if type(prefix) is bytes else bytes(memoryview(prefix)[:4096])
        answer: int = _lib().l7_detect(self._core, Direction(direction), data, len(data))
        if answer == _UNDECIDED:
            return None
        return 0 if answer == _NO_DETECTOR else answer

    def _open(self, config: Config) -> Any:
        """A connection as C has it."""
        known, packed = self._config
        if config is not known:
            packed = config.pack()
            self._config = (config, packed)
        try:
            connection = self._spare.pop()
        except IndexError:
            connection = _lib().l7_open(self._core, packed)
            if not connection:
                raise HostError("no memory for a connection", where=f"parser {self.name}") from None
            return connection
        _lib().l7_reopen(connection, packed)
        return connection

    def _close(self, connection: Any) -> None:
        """Keep it for the next one, or give it back."""
        if len(self._spare) < _SPARE and self._core.tables_size <= _SPARE_TABLES:
            self._spare.append(connection)
        else:
            _lib().l7_close(connection)


class NativeConnection:
    """Both directions of one connection, driven over a core; see `Core.connection`."""

    __slots__ = ("_busy", "_connection", "_events", "_feed", "_halves", "core")

    def __init__(self, core: Core, config: Config = _DEFAULT) -> None:
        self.core = core
        self._connection = core._open(config)
        library = _lib()
        self._feed = library.l7_feed
        self._halves = tuple(library.l7_half_of(self._connection, direction) for direction in (0, 1))
        self._events = ffi.buffer(library.l7_events(self._connection), _EVENTS)
        self._busy = False

    def __del__(self) -> None:
        if hasattr(self, "_connection"):  # there was memory for it
            self.core._close(self._connection)

    def __reduce__(self) -> Any:
        # a copy would share the memory, and give it back a second time: to two connections that come later
        raise TypeError("a connection can be neither copied nor pickled")

    def feed(self, direction: int, data: Bytes, *, end: bool = False) -> list[RawEvent]:
        """Give it the next bytes of a direction, and with ``end`` its end; what the core tells, in order.

        Errors: ClosedError for bytes after the end of their direction; EbpfMeshError if another thread is in it;
        ValueError if ``direction`` is none, here as in each method.
        """
        return raw_events(self.told(Direction(direction), data, end=end))

    def told(self, direction: int, data: Bytes, end: bool = False) -> bytes:
        """As `feed`; the events as a stream of ``struct l7_event``, which `raw_events` reads."""
        if self._busy:
            raise self._failure(_BUSY)
        self._busy = True
        try:
            octets = data if type(data) is bytes else ffi.from_buffer(data)
            length = self._feed(
                self._halves[direction], octets, len(octets) | _AND_END if end else len(octets)
            )
            if not 0 <= length < _ENOUGH:
                return self._told_in_pieces(length, self._halves[direction], ffi.from_buffer(data), end)
            told: bytes = self._events[:length]
            return told
        finally:
            self._busy = False

    def _told_in_pieces(self, length: int, half: Any, data: Any, end: bool) -> bytes:
        """More than is told at once: ``length`` bytes of events are there, and of ``data`` some is left."""
        told = []
        while length >= _ENOUGH:
            told.append(self._events[:length])
            left = _lib().l7_left(self._connection)
            length = self._feed(half, data + (len(data) - left), left | _AND_END if end else left)
        if length < 0:
            raise self._failure(length)
        told.append(self._events[:length])
        return b"".join(told)

    def lost(self, direction: int, count: int) -> None:
        """``count`` bytes of a direction are missing here: the capture did not see them."""
        if count < 0:
            raise ValueError(f"{count} bytes cannot be lost")
        _lib().l7_miss(self._connection, Direction(direction), count)

    def position(self, direction: int) -> int:
        """How many bytes of a direction were given, or lost."""
        return int(_lib().l7_flow_of(self._connection, Direction(direction)).position)

    def op(self, direction: int) -> int:
        """The last operation of a direction: a number of `contract.Op`."""
        return int(_lib().l7_flow_of(self._connection, Direction(direction)).op)

    def _failure(self, number: int) -> EbpfMeshError:
        where = f"parser {self.core.name}"
        if number == _ENDED:
            return ClosedError("bytes after the end of their direction", where=where)
        return EbpfMeshError(
            "the connection is in use by another thread", where=where, remedy="use it from one at a time"
        )


# --- libraries --------------------------------------------------------------------------------------------------------


@cache
def builtin(name: str) -> Core:
    """The built-in core ``name``, from the library in the package.

    Errors: HostError if the library was not built; SpecError if it holds no such core.
    """
    return _core(_opened(LIBRARY), LIBRARY, name)


def load(path: Path, name: str) -> Core:
    """The core ``name`` of somebody else's library, as ``ebpfmesh build-parser`` makes it.

    It stays loaded: code that was called cannot be taken out of a process. The library's constructors run.

    Errors: SpecError if the file cannot be loaded, has no ``l7_core_NAME``, or was built with other sizes than this
    version's, naming both.
    """
    path = path.resolve()
    try:
        state = path.stat()
    except OSError as error:
        remedy = "name the library that build-parser made"
        raise SpecError(error.strerror or "cannot be read", where=str(path), remedy=remedy) from error
    version = (state.st_dev, state.st_ino, state.st_mtime_ns)
    if _loaded.setdefault(path, version) != version:  # dlopen(3) would give the old one, by its name
        raise SpecError(
            "an earlier version of this library is loaded, and code cannot be replaced in a process",
            where=str(path),
            remedy="start again, or give the new version another name",
        )
    return _checked(path, name)


_loaded: dict[Path, tuple[int, int, int]] = {}
"""The files that were opened, with what tells one version from the next."""


@cache
def _checked(path: Path, name: str) -> Core:
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
    library = _lib()
    dlerror = library.dlerror  # looked up before: that would clear the message
    handle = library.dlopen(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)
    if not handle:
        told = dlerror()
        text: bytes = ffi.string(told) if told else b"it cannot be loaded"
        raise SpecError(
            text.decode("utf-8", "replace").removeprefix(f"{path}: "), where=str(path), remedy=_REMEDY
        )
    return handle


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
