"""What a parser is: a class with the name of a protocol, which makes connections.

`CoreParser` is the Python face of a core in C, `PythonParser` a protocol in Python: one class, one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ebpfmesh.errors import ConfigError, ParserFaultError
from ebpfmesh.l7.contain import Watch
from ebpfmesh.l7.contract import Code, Config, Direction, Engine, RawEvent, Step
from ebpfmesh.l7.plan import Kind, Plans, checked

if TYPE_CHECKING:
    from ebpfmesh.l7.connection import Connection
    from ebpfmesh.l7.events import Event
    from ebpfmesh.l7.native import Core
    from ebpfmesh.l7.recording import Order
    from ebpfmesh.l7.vectors import Vector

Transport = Literal["tcp", "udp"]


class Parser(ABC):
    """A protocol. The registry makes one of each class, without arguments."""

    name: ClassVar[str]
    """Lower case: what `l7.parser` is asked for."""
    ports: ClassVar[tuple[int, ...]] = ()
    """Of the server, where the protocol is usual: a hint to detection, no more."""
    transports: ClassVar[tuple[Transport, ...]] = ("tcp",)
    priority: ClassVar[int] = 0
    """Among parsers that are equally sure of the same bytes, the highest is taken."""
    prefix: ClassVar[int] = 32
    """Bytes after which `detect` must be able to say; at most 1024."""
    ahead: ClassVar[int] = 1
    """Requests that may be unanswered when a recording of both directions is replayed: 1, or many if they have numbers."""
    codes: ClassVar[type[IntEnum] | None] = None
    """The protocol's own codes, from 16 on: their names are the reasons of errors."""
    leniencies: ClassVar[Mapping[str, int]] = {}
    """Names that ``Config.leniencies`` takes; the numbers are a core's bits."""
    vectors: ClassVar[Sequence[Vector]] = ()
    """Inputs and what they tell: run before a core that is not built in is used."""

    watch: Watch | None = None
    """Who counts its faults, if it is not built in."""

    def detect(self, prefix: bytes, direction: Direction) -> int | None:
        """How sure, from 0 to 100, that a direction which begins with ``prefix`` is this protocol's.

        None: these are too few bytes to say. `prefix` has at most the bytes of the class's ``prefix``.
        """
        del prefix, direction
        return 0

    @abstractmethod
    def connection(self, config: Config | None = None, *, engine: Engine | None = None) -> Connection:
        """A new connection.

        ``engine`` runs the core elsewhere than in the native library: a loaded BPF object.
        Errors: ConfigError for a leniency that there is not, or an engine where none can be.
        """

    def order(self, config: Config) -> Order | None:
        """How two recordings of a connection take turns, where the bytes tell more of it than `ahead`."""
        del config
        return None

    def reason(self, code: int) -> str:
        """The name of a code, lower case."""
        for codes in (self.codes, Code):
            if codes is not None and code in codes._value2member_map_:
                return codes(code).name.lower()
        return f"code_{code}"

    def resolved(self, config: Config | None) -> Config:
        """The configuration with this protocol's bits for its leniencies; ConfigError for an unknown one."""
        try:
            return (config or Config()).resolved(self.leniencies)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"parser {self.name}", remedy=error.remedy) from None


class CoreParser(Parser):
    """The Python face of a core: which core, and what its records are as events.

    class Toy(CoreParser):
        name = "toy"
        library = Path(__file__).with_name("toy.so")
        codes = ToyCode
        kinds = {1: Kind(Message, (Text(0, "key"), Number(1, "flags", ToyFlag)))}
        vectors = (Vector("one", [(REQUEST, b"\\x02hi")], [...]),)
    """

    core_name: ClassVar[str] = ""
    """NAME of ``l7_core_NAME``; the parser's own name if empty."""
    library: ClassVar[Path | None] = None
    """The shared library that ``ebpfmesh build-parser`` made; None: built in."""
    kinds: ClassVar[Mapping[int, Kind]] = {}
    """What each kind of record becomes. MESSAGE_ENDS and payload become `End` and `Data` by themselves."""

    def event(self, raw: RawEvent, config: Config) -> Event | None:
        """The event of a record whose kind is not in `kinds`; None tells nothing."""
        del config
        raise ParserFaultError(f"its core tells records of the unknown kind {raw.kind}", parser=self.name)

    @cached_property
    def core(self) -> Core:
        """The native core. Errors: HostError if it was not built; SpecError if the library does not fit."""
        from ebpfmesh.l7 import native

        name = self.core_name or self.name
        return native.builtin(name) if self.library is None else native.load(self.library, name)

    @property
    def object(self) -> Path | None:
        """The BPF object that ``ebpfmesh build-parser`` made beside `library`; None: built in."""
        return None if self.library is None else self.library.with_suffix(".bpf.o")

    def detect(self, prefix: bytes, direction: Direction) -> int | None:
        """What the core's own detector says; 0 if it has none."""
        return self.core.detect(prefix, direction)

    def connection(self, config: Config | None = None, *, engine: Engine | None = None) -> Connection:
        """A new connection; on the native core, unless ``engine`` says otherwise."""
        from ebpfmesh.l7.connection import CoreConnection

        config = self.resolved(config)
        return CoreConnection(self, config, (engine or self.core).connection(config), self.watch)

    def plans(self, config: Config) -> Plans:
        """What makes events, shared by connections that register the same names."""
        key = config.names, config.all_headers
        found = self._plans.get(key)
        if found is None:
            if reason := checked(self.kinds):
                raise ParserFaultError(reason, parser=self.name)
            found = Plans(dict(self.kinds), config.names, all_headers=config.all_headers)
            if (
                len(self._plans) < 64
            ):  # configurations are few; should somebody make one for each connection, they go
                self._plans[key] = found
        return found

    @cached_property
    def _plans(self) -> dict[tuple[tuple[str, ...], bool], Plans]:
        return {}


class PythonParser(Parser):
    """A protocol in Python: the class describes it, and each connection has an instance, which may keep what it likes.

    The one difference to a core: after `More` the same bytes are shown again, with those that came since. So a parser
    need not be resumable. How much it may hold that way is bounded by ``config.head_limit``.
    """

    config: Config
    """How this connection is parsed; set before the first call of `parse`."""

    @abstractmethod
    def parse(self, direction: Direction, data: bytes, end: bool) -> Step:
        """What the bytes at the front of ``data`` are.

        ``data`` is a part of what has arrived, never less than was asked for with More. ``end`` is true in the last call of
        a direction, in which ``data`` is what was asked more for, or nothing: the answer is then what ends, or an Error;
        More says that nothing does, and is the error INCOMPLETE if there was data.
        """

    def gap(self, direction: Direction, count: int) -> Step | None:
        """``count`` bytes were lost before the next ones; None goes on with them. As it is, the direction is given up."""
        from ebpfmesh.l7.contract import Escalate

        del direction, count
        return Escalate(Code.GAP)

    def connection(self, config: Config | None = None, *, engine: Engine | None = None) -> Connection:
        """A new connection, with an instance of its own. ConfigError with an engine: there is no core to run."""
        from ebpfmesh.l7.stepping import PythonConnection

        if engine is not None:
            raise ConfigError(
                "is written in Python: no engine runs it",
                where=f"parser {self.name}",
                remedy="use the native engine",
            )
        config = self.resolved(config)
        if self.watch is None:
            self.watch = Watch(self.name)
        return PythonConnection(self, config, self.watch)
