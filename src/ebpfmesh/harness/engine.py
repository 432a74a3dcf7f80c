"""KernelEngine: a loaded core, and how one is loaded."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Self

from ebpfmesh import features, objects
from ebpfmesh.errors import CapabilityError, ClosedError, VerifierError
from ebpfmesh.harness.connection import KernelConnection, Measured
from ebpfmesh.harness.memory import Memory
from ebpfmesh.harness.objects import KINDS, builtin_path, read
from ebpfmesh.harness.structures import OUTPUT, SIZES
from ebpfmesh.l7.contract import FIELDS, Config
from ebpfmesh.lowlevel import capabilities
from ebpfmesh.objects import Objects

_NEEDS = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN")
LEAST_OUTPUT = SIZES["l7_event"] + 16 * FIELDS + 4096 + 64
"""``sizeof(struct l7_told)``: with less room for events, no call is made."""


class KernelEngine:
    """A parser core that is loaded in the kernel; make one with `load`.

    ``name``; ``path`` of its object; ``loaded``, what came of that; ``program``, which is fed by hand.

    It is the process's that loaded it: after fork(2) the child has the same memory, not memory of its own, so the child
    loads the core again for itself.

    ``output`` is how many bytes of events one run may tell before it stops for them to be taken; only tests lower it.
    """

    def __init__(self, name: str, path: Path, loaded: Objects) -> None:
        self.name, self.path, self.loaded = name, path, loaded
        self.program = loaded.programs[f"{name}_tc"]
        self.memory = Memory(loaded, self.program)
        self._lock = threading.RLock()
        self.output = OUTPUT
        self._active: weakref.ref[KernelConnection] | None = None
        self._closed = False
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<KernelEngine {self.name}{', closed' if self._closed else ''}>"

    def close(self) -> None:
        """Unload it. Its connections cannot be fed any more. Twice is harmless."""
        # in a child of fork(2) the lock may be held for ever: by a thread that was not copied
        with self._lock if self.is_ours() else nullcontext():
            if not self._closed:
                self._closed = True
                self.memory.close()
                self.loaded.close()

    @property
    def lock(self) -> threading.RLock:
        """Who holds it may use the memory. Errors: ClosedError in another process than the one that loaded the core."""
        self._require_ours()
        return self._lock

    def is_ours(self) -> bool:
        """Whether this process loaded it, rather than its parent."""
        return os.getpid() == self._process

    def connection(self, config: Config | None = None) -> KernelConnection:
        """A new connection; ``config.leniency_bits`` are what the core knows of leniencies. Errors: ClosedError."""
        self.require_open()
        return KernelConnection(self, config or Config())

    def measure(
        self, direction: int, data: bytes, repeat: int = 1000, *, config: Config | None = None
    ) -> Measured:
        """How long ``data`` takes as the first bytes of a new connection; see `KernelConnection.measure`."""
        return self.connection(config).measure((direction, data), repeat=repeat)

    def cost(self) -> dict[str, int]:
        """How many instructions the verifier walked for each program, by kind: tc, sk_msg, sk_skb.

        Programs that are not loaded yet are loaded for the answer. Errors: VerifierError, CapabilityError. Minimum kernel:
        5.16 (commit aba64c7da983); 0 before.
        """
        names = {kind: f"{self.name}_{kind}" for kind in KINDS}
        if all(name in self.loaded.programs for name in names.values()):
            return _cost(self.loaded, names)
        with objects.load(self.loaded.spec, programs=names.values()) as loaded:
            return _cost(loaded, names)

    def require_open(self) -> None:
        """Errors: ClosedError."""
        if self._closed:
            raise ClosedError("the engine was closed", where=f"parser {self.name}")
        self._require_ours()

    def _require_ours(self) -> None:
        if not self.is_ours():
            raise ClosedError(
                "the engine is that of the process that loaded it, and its memory is shared with this one",
                where=f"parser {self.name}",
                remedy="load it again in this process",
            )

    def active(self) -> KernelConnection | None:
        """The connection that the kernel holds."""
        return self._active() if self._active else None

    def set_active(self, connection: KernelConnection) -> None:
        """Say which connection the kernel holds; the caller has put it there."""
        self._active = weakref.ref(connection)


def load(name: str | None = None, *, path: Path | str | None = None, sockets: bool = False) -> KernelEngine:
    """Load a core: a built-in by its ``name``, or the object at ``path``, whose core ``name`` may be left out.

    ``sockets``: load the programs of sockets as well, for `Sockets`; loading takes three times as long then.

    Errors: HostError (no such built-in, or not built); SpecError (no core in the object, another one, or one that was
    built with other sizes); NotSupportedError (no bpf_loop); VerifierError; CapabilityError.
    Minimum kernel: 5.17 (commit e6f2dd0f8067). Capabilities: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN.
    """
    if name is None and path is None:
        raise TypeError("load() wants a name or a path")
    place = Path(path) if path is not None else builtin_path(name or "")
    spec, found = read(place, name)
    programs = [f"{found}_{kind}" for kind in KINDS[: 3 if sockets else 1]]
    try:
        loaded = objects.load(spec, programs=programs)
    except VerifierError as error:
        if lacking := capabilities.missing(
            list(_NEEDS)
        ):  # the verifier knows no better than to refuse a helper
            raise CapabilityError(
                f"loading needs {' '.join(lacking)}",
                where=f"parser {found}",
                remedy=f"run as root or with {' '.join(_NEEDS)}; the native engine needs none",
            ) from error
        features.require(
            "loop", what=f"parser {found} in the kernel", remedy="the native engine needs no kernel"
        )
        raise
    try:
        return KernelEngine(found, place, loaded)
    except BaseException:
        loaded.close()
        raise


def _cost(loaded: Objects, names: dict[str, str]) -> dict[str, int]:
    return {kind: loaded.programs[name].info().verified_instructions for kind, name in names.items()}
