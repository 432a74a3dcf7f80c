"""Every exception of ebpfmesh, on one screen.

An error says *what* went wrong, *where* (a path such as ``$.services[2].port``, a file, a program, a map) and the
*remedy*. ``str(error)`` is one line that holds all three. An error of the kernel also carries its ``errno``.

    EbpfMeshError
    ├── ConfigError              the configuration or model is wrong          ($.services[2].port)
    ├── SpecError                an object file cannot be read or lacks what was asked for
    ├── ParseError               bytes that break their protocol; .protocol, .direction, .position, .code, .reason
    ├── ParserFaultError         a parser broke its own contract, or raised; .parser
    ├── BuildError               C that does not compile, or no compiler; .output
    ├── HostError                the host lacks something: package, mount, file, interface
    ├── CapabilityError          the process lacks a capability (a PermissionError too)
    ├── NotSupportedError        this kernel or hook cannot do it, and a probe says so
    ├── KernelError              the kernel refused; carries errno
    │   ├── LoadError            an object did not load
    │   │   └── VerifierError    … because the verifier refused a program; .line, .log
    │   ├── AttachError          a program did not attach, or a link did not update
    │   │   └── OccupiedError    the hook holds one program and has one; .owner
    │   └── MapError             a map operation failed
    │       ├── MapFullError     .capacity
    │       └── MapKeyError      no such key (a KeyError too), or the key exists already
    ├── MapTypeError             a key or value does not fit the map's layout (a TypeError too)
    ├── ClosedError              the map, link or mesh was closed
    ├── OwnershipError           what is there is not ours to touch
    │   ├── HeldError            another agent runs under this name; .pid
    │   └── LayoutError          pinned maps have another layout than this version
    └── CapacityError            the model does not fit the capacities or the memory budget
"""

from __future__ import annotations

import errno as _errno
import os
from typing import Any


class EbpfMeshError(Exception):
    """Base of everything this library raises on purpose: ``what``, ``where`` and ``remedy``."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.remedy})" if self.remedy else text


class ConfigError(EbpfMeshError):
    """The configuration is wrong; ``where`` is the path of the offending field."""


class SpecError(EbpfMeshError):
    """An object file cannot be read, or does not hold what was asked for."""


class ParseError(EbpfMeshError):
    """Bytes of a connection break their protocol: the one error that a parser's connection raises.

    ``position`` counts the bytes of the direction (0 is its first); ``code`` is the protocol's number of what is wrong
    and ``reason`` its name. ``events`` are those that came before it in the bytes of the same call.
    """

    events: tuple[Any, ...] = ()

    def __init__(self, protocol: str, direction: str, position: int, code: int, reason: str) -> None:
        self.protocol, self.direction, self.position = protocol, direction, position
        self.code, self.reason = code, reason
        super().__init__(f"{reason.replace('_', ' ')}", where=f"{protocol} {direction} at byte {position}")

    def __reduce__(self) -> tuple[type, tuple[str, str, int, int, str]]:
        return type(self), (self.protocol, self.direction, self.position, self.code, self.reason)


class ParserFaultError(EbpfMeshError):
    """A parser broke its contract or raised something of its own; ``parser`` names it."""

    def __init__(self, what: str, *, parser: str, where: str = "", remedy: str = "") -> None:
        self.parser = parser
        super().__init__(what, where=where or f"parser {parser}", remedy=remedy)


class BuildError(EbpfMeshError):
    """A source does not compile, or there is nothing to compile it with; ``output`` is the compiler's own words."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", output: str = "") -> None:
        self.output = output
        super().__init__(what, where=where, remedy=remedy)

    def __str__(self) -> str:
        return f"{super().__str__()}:\n{self.output}" if self.output else super().__str__()


class HostError(EbpfMeshError):
    """The host lacks a package, a mount, a file or an interface."""


class CapabilityError(EbpfMeshError, PermissionError):
    """The process lacks a capability; ``remedy`` names it."""


class NotSupportedError(EbpfMeshError):
    """This kernel, or this hook, cannot do it; ``remedy`` names the version or the alternative."""


class KernelError(EbpfMeshError):
    """The kernel refused an operation; ``errno`` is its number."""

    def __init__(self, what: str, *, errno: int = 0, where: str = "", remedy: str = "") -> None:
        self.errno = errno
        if errno:
            what = f"{what}: {_errno.errorcode.get(errno, str(errno))} ({os.strerror(errno)})"
        super().__init__(what, where=where, remedy=remedy)


class LoadError(KernelError):
    """A BPF object did not load."""


class VerifierError(LoadError):
    """The verifier refused ``program``: ``line`` is its reason with the source line, ``log`` the whole log."""

    def __init__(self, program: str, line: str, log: str, *, errno: int = 0) -> None:
        self.program, self.line, self.log = program, line, log
        super().__init__(f"the verifier refused it: {line}", errno=errno, where=f"program {program}")


class AttachError(KernelError):
    """A program did not attach, or a link did not update or detach."""


class OccupiedError(AttachError):
    """The hook holds one program and has one already; ``owner`` describes it."""

    def __init__(self, what: str, *, owner: str, errno: int = 0, where: str = "", remedy: str = "") -> None:
        self.owner = owner
        super().__init__(f"{what}, held by {owner}", errno=errno, where=where, remedy=remedy)


class MapError(KernelError):
    """An operation on a map failed; ``where`` names the map."""


class MapFullError(MapError):
    """The map holds ``capacity`` elements and takes no more."""

    def __init__(
        self, what: str, *, capacity: int, errno: int = 0, where: str = "", remedy: str = ""
    ) -> None:
        self.capacity = capacity
        super().__init__(what, errno=errno, where=where, remedy=remedy)


class MapKeyError(MapError, KeyError):
    """The key is not in the map, or, with NOEXIST, is there already."""


class MapTypeError(EbpfMeshError, TypeError):
    """A key or value does not fit the map's layout."""


class ClosedError(EbpfMeshError):
    """The map, link, object or mesh was closed before this call."""


class OwnershipError(EbpfMeshError):
    """What is there belongs to somebody else, or to nobody we know; it is left alone."""


class HeldError(OwnershipError):
    """Another agent runs under this name; ``pid`` is its process."""

    def __init__(self, what: str, *, pid: int, where: str = "", remedy: str = "") -> None:
        self.pid = pid
        super().__init__(what, where=where, remedy=remedy)


class LayoutError(OwnershipError):
    """Pinned maps have another layout than this version writes; they are never reinterpreted."""


class CapacityError(EbpfMeshError):
    """The model does not fit the capacities or the memory budget."""
