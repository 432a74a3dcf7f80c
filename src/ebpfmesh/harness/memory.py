"""What the harness program and this process share: arrays that are mapped here, of one loaded object."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from ebpfmesh.harness.structures import OUTPUT, RUN, SIZES, RunFlag
from ebpfmesh.objects import Objects, Program
from ebpfmesh.objects.program import TestRun

PACKET = bytes(64)
"""A test run of a tc program wants one; nobody reads it."""


class Progress(NamedTuple):
    """How far a run came: bytes of events, calls of the core, and whether nothing is left of its input."""

    written: int
    calls: int
    done: bool


class Memory:
    """The maps of one loaded harness object, and runs of its program: ``test_run`` runs it so many times."""

    def __init__(self, loaded: Objects, program: Program) -> None:
        self.test_run: Callable[[int], TestRun] = lambda repeat: program.test_run(
            PACKET, room=0, repeat=repeat
        )
        with ExitStack() as undo:

            def view(name: str) -> memoryview:
                mapped = loaded.maps[name].mmap()
                undo.callback(mapped.close)
                return mapped.buffer  # type: ignore[no-any-return]

            self._run, self._input, self._output = view("l7_run"), view("l7_input"), view("l7_output")
            self._chunks, self._configs = view("l7_chunks"), view("l7_configs")
            self._saved, self._saved_tables = view("l7_saved"), view("l7_saved_tables")
            self.links, self.tables = view("l7_links"), view("l7_tables")
            self.tables_size: int = loaded.maps["l7_tables"].value_size
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Unmap all."""
        self._undo.close()

    # --- one connection --------------------------------------------------------------------------------------------------

    def put(self, config: bytes, link: bytes, tables: bytes, number: int = 0) -> None:
        """Make link ``number`` what these say."""
        for memory, value in ((self._configs, config), (self.links, link), (self.tables, tables)):
            start = number * (-(-len(value) // 8) * 8)
            memory[start : start + len(value)] = value

    def take(self) -> tuple[bytes, bytes]:
        """Link 0 and its tables."""
        return bytes(self.links[: SIZES["l7_link"]]), bytes(self.tables[: self.tables_size])

    def save(self) -> None:
        """Let link 0 be what runs with FROM_SAVED begin with."""
        self._saved[: SIZES["l7_link"]] = self.links[: SIZES["l7_link"]]
        self._saved_tables[: self.tables_size] = self.tables[: self.tables_size]

    # --- runs ------------------------------------------------------------------------------------------------------------

    def begin(self, chunks: bytes, count: int, data: bytes, *, limit: int = OUTPUT, flags: RunFlag) -> None:
        """Give it the pieces of a run; `run` carries it out."""
        self._chunks[: len(chunks)] = chunks
        self._input[: len(data)] = data
        self._run[: RUN.size] = RUN.pack(flags, count, limit, 0, 0, 0, 0, 0, 0, 0)

    def run(self, repeat: int = 1) -> tuple[Progress, int]:
        """Go on until it is done or the output is full; how far it came, and the nanoseconds of one run of ``repeat``.

        Errors: CapabilityError, ClosedError.
        """
        result = self.test_run(repeat)
        fields = RUN.unpack_from(self._run)
        return Progress(written=fields[6], calls=fields[7], done=bool(fields[9])), result.duration_ns

    def told(self, written: int) -> bytes:
        """The events of the run; there is room for others after it."""
        events = bytes(self._output[:written])
        fields = list(RUN.unpack_from(self._run))
        fields[6] = 0
        self._run[: RUN.size] = RUN.pack(*fields)
        return events
