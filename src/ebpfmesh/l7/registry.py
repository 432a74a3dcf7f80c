"""Parsers by name: the built-in ones, those registered by `register`, and those of installed packages, all alike.

A package offers a parser with an entry point of the group ``ebpfmesh.parsers``: its name is the parser's, its value the
class. It is loaded when it is first asked for. One that fails to load is named, and the others work. A name is one only:
that of a built-in one cannot be taken, and of two packages that offer the same name neither gets it.

``EBPFMESH_PARSERS_DISABLED`` disables the parsers that it names, separated by commas, built-in ones too; ``third-party`` in
it stands for all that are not built in, and so does ``EBPFMESH_DISABLE_PLUGINS=1``.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from ebpfmesh.errors import ConfigError, EbpfMeshError, ParserFaultError
from ebpfmesh.l7.contain import Limits, Watch, words
from ebpfmesh.l7.parser import CoreParser, Parser
from ebpfmesh.l7.vectors import run_vectors

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "ebpfmesh.parsers"
BUILT_IN = {
    "http1": "ebpfmesh.l7.http1:Http1",
    "http2": "ebpfmesh.l7.http2:Http2",
    "grpc": "ebpfmesh.l7.grpc:Grpc",
    "redis": "ebpfmesh.l7.redis:Redis",
    "dns": "ebpfmesh.l7.dns:Dns",
    "dns-tcp": "ebpfmesh.l7.dns:DnsTcp",
}
"""The same lines as in pyproject.toml: a source tree works uninstalled, too."""

LONGEST_PREFIX = 1024
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_THIRD_PARTY = "third-party"

State = Literal["ready", "not loaded", "disabled", "failed"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One parser, as `parsers` lists it."""

    name: str
    origin: str
    """``built in``, ``registered by MODULE:CLASS``, or the package and the entry point's value."""
    state: State
    reason: str = ""
    """Why it is disabled, or how it failed."""
    transports: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    priority: int = 0
    calls: int = 0
    """Calls that were counted: those of parsers that are not built in. So with the next three."""
    faults: int = 0
    overruns: int = 0
    slowest: float = 0.0
    """Seconds of the slowest call."""


class _Offer:
    """Somebody's parser of a name, loaded or not."""

    def __init__(
        self, name: str, value: str, origin: str, load: Callable[[], Any], *, built_in: bool = False
    ) -> None:
        self.name, self.value, self.origin, self.load, self.built_in = name, value, origin, load, built_in
        self.parser: Parser | None = None
        self.failure = ""
        self.lock = threading.RLock()
        """Of loading it. Not the registry's: `register` takes that one while another thread imports the module."""


ParserClass = TypeVar("ParserClass", bound=type[Parser])


class Registry:
    """Parsers by name. The library has one, `REGISTRY`; its methods are functions of `ebpfmesh.l7`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._registered: dict[str, _Offer] = {}
        self._packaged: dict[tuple[str, str], _Offer] = {}
        self._told: set[str] = set()
        self._lock = threading.RLock()

    def register(self, cls: ParserClass) -> ParserClass:
        """Register a parser's class under its name: a decorator.

        ConfigError if it lacks something, or if the name is taken. A class of the same module and name replaces the one
        before, so that a module can be reloaded.
        """
        value = f"{_module(cls)}:{getattr(cls, '__qualname__', cls)}"
        name = getattr(cls, "name", None)
        if reason := _unfit(cls, name):
            raise ConfigError(reason, where=f"parser {value}")
        with self._lock:
            for other in self._offers().get(cls.name, []):
                if other.value != value:
                    raise ConfigError(
                        f"the name is taken: {other.origin}",
                        where=f"parser {cls.name!r}",
                        remedy="choose another, or uninstall the package that has it",
                    )
            self._registered[cls.name] = _Offer(cls.name, value, f"registered by {value}", lambda: cls)
        return cls

    def parser(self, name: str) -> Parser:
        """The parser of that name.

        Errors: ConfigError names those there are, or why this one is disabled; ParserFaultError says how it failed to
        load, or which of its vectors failed at which split.
        """
        with self._lock:
            offers = self._offers().get(name, [])
            if not offers:
                raise ConfigError(
                    f"there is no parser {name!r}", remedy=f"there are: {', '.join(self.names())}"
                )
            if reason := self._disabled(offers[0]):
                raise ConfigError(reason, where=f"parser {name}")
            if len(offers) > 1:
                raise ParserFaultError(
                    _conflict(offers),
                    parser=name,
                    remedy="uninstall one, or name it in EBPFMESH_PARSERS_DISABLED",
                )
        with offers[0].lock:
            return self._loaded(offers[0])

    def names(self) -> list[str]:
        """All names that `parser` can be asked for, disabled ones too; nothing is loaded for this."""
        return sorted(self._offers())

    def parsers(self) -> list[Status]:
        """Every parser with its state, what it did so far, and how it failed; nothing is loaded for this."""
        with self._lock:
            return [
                self._status(offer, _conflict(offers) if len(offers) > 1 else "")
                for _, offers in sorted(self._offers().items())
                for offer in offers
            ]

    def usable(self, transport: str) -> Iterator[Parser]:
        """The parsers that may be asked about a connection, loaded now; one that fails is named in the log and left out."""
        for name in self.names():
            try:
                parser = self.parser(name)
            except EbpfMeshError:
                continue
            if transport in parser.transports:
                yield parser

    # --- loading

    def _loaded(self, offer: _Offer) -> Parser:
        if offer.failure:
            raise self._failed(offer)
        if offer.parser is None:
            try:
                offer.parser = self._made(offer)
            except (Exception, SystemExit) as error:  # whatever it is: what works without it goes on
                own = isinstance(error, ParserFaultError)
                offer.failure = str(error) if own else f"it failed to load: {words(error)}"
                for prefix in (f"parser {offer.name}: ", f"parser {offer.name}, "):
                    offer.failure = offer.failure.removeprefix(prefix)
                _log().error("parser failed", parser=offer.name, origin=offer.origin, reason=offer.failure)
                raise self._failed(offer) from error
        return offer.parser

    def _failed(self, offer: _Offer) -> ParserFaultError:
        return ParserFaultError(
            offer.failure,
            parser=offer.name,
            where=f"parser {offer.name} ({offer.origin})",
            remedy="" if offer.built_in else "repair or remove it, or name it in EBPFMESH_PARSERS_DISABLED",
        )

    def _made(self, offer: _Offer) -> Parser:
        """An instance, proved if it brings machine code of its own."""
        cls = offer.load()
        name = getattr(cls, "name", None)
        if reason := _unfit(cls, name):
            raise ParserFaultError(reason, parser=offer.name)
        if name != offer.name:
            raise ParserFaultError(
                f"its name is {name!r}, its entry point says {offer.name!r}", parser=offer.name
            )
        made: Parser = cls()
        if offer.built_in:
            return made
        made.watch = Watch(offer.name, self._limits)
        if isinstance(made, CoreParser) and made.library is not None:
            if not made.vectors:
                raise ParserFaultError("it brings a library and no vectors to prove it by", parser=offer.name)
            run_vectors(made)
            made.watch = Watch(offer.name, self._limits)  # its vectors were no calls of anybody's
        return made

    # --- what there is

    def _offers(self) -> dict[str, list[_Offer]]:
        """All offers by name; those of packages for a built-in name are refused."""
        offers = {name: [_built_in(name, value)] for name, value in BUILT_IN.items()}
        for point in _installed(tuple(sys.path)):
            if BUILT_IN.get(point.name) == point.value:
                continue
            if point.name in BUILT_IN:
                self._tell_once(point, "the name is that of a built-in parser")
                continue
            key = point.name, point.value
            if key not in self._packaged:
                package = point.dist.name if point.dist is not None else "unknown package"
                self._packaged[key] = _Offer(point.name, point.value, f"{package}: {point.value}", point.load)
            offers.setdefault(point.name, []).append(self._packaged[key])
        for name, offer in self._registered.items():
            there = offers.setdefault(name, [])
            there[:] = [one for one in there if one.value != offer.value] + [offer]
        return offers

    def _tell_once(self, point: EntryPoint, reason: str) -> None:
        if point.value not in self._told:
            self._told.add(point.value)
            _log().error("parser refused", parser=point.name, origin=point.value, reason=reason)

    def _disabled(self, offer: _Offer) -> str:
        """Why a parser is disabled, or nothing."""
        named = {part.strip() for part in os.environ.get("EBPFMESH_PARSERS_DISABLED", "").split(",")}
        if offer.name in named or (_THIRD_PARTY in named and not offer.built_in):
            return "it is disabled by EBPFMESH_PARSERS_DISABLED"
        plugins = os.environ.get("EBPFMESH_DISABLE_PLUGINS", "")
        plugin_names = {part.strip() for part in plugins.split(",")}
        if not offer.built_in and (plugins in ("1", "all") or offer.name in plugin_names):
            return "it is disabled by EBPFMESH_DISABLE_PLUGINS"
        watch = offer.parser.watch if offer.parser is not None else None
        return f"it is disabled: {watch.disabled}" if watch is not None and watch.disabled else ""

    def _status(self, offer: _Offer, conflict: str) -> Status:
        parser, disabled = offer.parser, self._disabled(offer)
        watch = parser.watch if parser is not None else None
        state: State = "not loaded" if parser is None else "ready"
        if disabled:
            state = "disabled"
        elif offer.failure or conflict:
            state = "failed"
        return Status(
            name=offer.name,
            origin=offer.origin,
            state=state,
            reason=disabled or offer.failure or conflict,
            transports=parser.transports if parser is not None else (),
            ports=parser.ports if parser is not None else (),
            priority=parser.priority if parser is not None else 0,
            calls=watch.calls if watch is not None else 0,
            faults=watch.faults if watch is not None else 0,
            overruns=watch.overruns if watch is not None else 0,
            slowest=watch.slowest if watch is not None else 0.0,
        )


def _module(cls: Any) -> str:
    """The name that the module of ``cls`` is imported by, also while it runs as a script: then it is that of its file."""
    name = getattr(cls, "__module__", "?")
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).stem if name == "__main__" and file else name


def _unfit(cls: Any, name: Any) -> str:
    """Why something is no parser's class, or nothing."""
    if not (isinstance(cls, type) and issubclass(cls, Parser)):
        return f"{cls!r:.80} is no class of parsers"
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _THIRD_PARTY:
        return f"its name is {name!r:.80}, not lower-case letters, digits and -"
    if missing := sorted(cls.__abstractmethods__):
        return f"it lacks {', '.join(missing)}()"
    if type(cls.priority) is not int or not 1 <= cls.prefix <= LONGEST_PREFIX:
        return f"its priority is a number, its prefix 1 to {LONGEST_PREFIX}"
    if not cls.transports or not {*cls.transports} <= {"tcp", "udp"}:
        return 'its transports are "tcp", "udp", or both'
    return ""


def _conflict(offers: list[_Offer]) -> str:
    return "several offer it, and none gets it: " + "; ".join(sorted(offer.origin for offer in offers))


@cache
def _built_in(name: str, value: str) -> _Offer:
    module, _, cls = value.partition(":")
    return _Offer(name, value, "built in", lambda: getattr(import_module(module), cls), built_in=True)


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    del path  # what is installed is read again when it changes: reading takes 10 ms
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


def _log() -> Any:
    import structlog

    return structlog.get_logger("ebpfmesh.l7")


REGISTRY = Registry()
