"""Dispatcher: several parsers behind one entry program, each in a slot of a program array."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Self

from ebpfmesh import objects
from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.harness.engine import KernelEngine, load
from ebpfmesh.harness.memory import PACKET
from ebpfmesh.objects.program import TestRun

_OBJECT = "l7_dispatch.bpf.o"
# struct __sk_buff up to mark, and room behind it: the kernel gives all of its own back
_MARK = struct.Struct("<8xI244x")


class Dispatcher:
    """Parsers of several objects, built in and others', loaded side by side: one tc program calls the one asked for.

    with harness.Dispatcher() as several:
        http1, mine = several.add("http1"), several.add(path="mine.bpf.o")
        mine.connection().feed(REQUEST, b"...")

    ``engines`` are those that were added, by name. Up to 64 share the entry; one that is added disturbs no other.

    Minimum kernel: 5.17. Capabilities: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN.
    """

    def __init__(self) -> None:
        self.engines: dict[str, KernelEngine] = {}
        with ExitStack() as undo:
            self._entry = undo.enter_context(objects.load(_path()))
            self._undo = undo.pop_all()
        self._slots = self._entry.maps["l7_protocols"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload the parsers and the entry."""
        self._undo.close()

    def add(self, name: str | None = None, *, path: Path | str | None = None) -> KernelEngine:
        """Load a core as `harness.load` does, and give it the next slot.

        Errors: those of `harness.load`; ConfigError if a parser of its name is there, or no slot is free.
        """
        engine = load(name, path=path)
        with ExitStack() as undo:
            undo.callback(engine.close)
            number = len(self.engines)
            if engine.name in self.engines:
                raise ConfigError("a parser of this name is there", where=f"parser {engine.name}")
            if number == self._slots.max_entries:
                raise ConfigError(f"all {number} slots are taken", where=f"parser {engine.name}")
            self._slots[number] = engine.program
            engine.memory.test_run = lambda repeat: self._call(number, repeat)
            self.engines[engine.name] = engine
            self._undo.push(undo.pop_all())
        return engine

    def _call(self, number: int, repeat: int) -> TestRun:
        result = self._entry.programs["l7_dispatch"].test_run(
            PACKET, room=0, context=_MARK.pack(number), repeat=repeat
        )
        if result.value:
            raise EbpfMeshError("its slot is empty", where=f"protocol number {number}")
        return result


def _path() -> Path:
    return Path(str(resources.files("ebpfmesh.bpf"))) / _OBJECT
