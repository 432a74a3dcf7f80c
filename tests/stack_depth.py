"""How deep a chain of calls goes into the stack by the rounding of old verifiers, read from an object.

A program and what it calls, callbacks of loops among them, share 512 bytes. Newer verifiers round each function's frame
up to 16 bytes where the JIT is on; 6.1 to 32, a frame of nothing as well. So what loads here may be refused there
("combined stack size of 8 calls is 544. Too large"). This adds the chains up as 6.1's check_max_stack_depth() does,
without a kernel:

.venv/bin/python tests/stack_depth.py [OBJECT...]     the deepest chain of each program

A frame is taken to reach as far down as any instruction of its function names it, which is where the verifier finds it too,
except for code that it knows to be dead.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ebpfmesh.spec.elf import STT_FUNC, Elf, read_elf

LIMIT = 512  # MAX_BPF_STACK
ROUNDED_TO = 32
CALLS = 8  # MAX_CALL_FRAMES
BELOW_A_TAIL_CALL = 256  # what callers may have used where the function that is called makes tail calls

_INSTRUCTION = struct.Struct("<BBhi")
_CALL, _LOAD_64, _ADD, _MOVE = 0x85, 0x18, 0x07, 0xBF
_LOADS, _STORES, _CHANGES = 1, (2, 3), (0, 1, 4, 7)  # BPF_CLASS()
_LOCAL_CALL, _FUNCTION = 1, 4  # BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC
_TAIL_CALL, _LOOP = 12, 181  # helpers
_FRAME_POINTER = 10
_RELOCATION = struct.Struct("<QQ")  # Elf64_Rel


@dataclass
class Function:
    """A function of an object: bytes of ``frame``, names of what it ``calls`` in their order, callbacks included."""

    name: str
    program: bool
    frame: int = 0
    calls: list[str] = field(default_factory=list)
    tail_calls: bool = False
    loops: bool = False
    """It calls bpf_loop(), which verifiers replace by code that saves three registers, 24 bytes, after they added up."""

    @property
    def rounded(self) -> int:
        """Its frame as 6.1 counts it."""
        return -(-max(self.frame, 1) // ROUNDED_TO) * ROUNDED_TO


class Chain(NamedTuple):
    """Functions that call each other, and the bytes of stack that they have together."""

    depth: int
    functions: tuple[Function, ...]

    def __str__(self) -> str:
        return f"{self.depth} bytes: " + " > ".join(f"{one.name}:{one.frame}" for one in self.functions)


def functions(path: Path) -> dict[str, Function]:
    """Every function of the object."""
    elf = read_elf(path.read_bytes(), str(path))
    executable = {section.number: section for section in elf.sections if section.executable}
    places = {
        (symbol.section, symbol.offset): symbol
        for symbol in elf.symbols
        if symbol.type == STT_FUNC and symbol.section in executable
    }
    found = {}
    for (number, offset), symbol in places.items():
        section = executable[number]
        relocated = dict(_relocations(elf, section.name))
        one = Function(symbol.name, section.name != ".text")
        code = section.data[offset : offset + symbol.size]
        _read_frame(one, code)
        for at, kind, value in _references(code):
            target = relocated.get(offset + at)
            if target is not None:  # a function's symbol, or a section's, with the place in the instruction
                place = target[0], target[1] + (value if kind == _FUNCTION else (value + 1) * 8)
            else:
                place = number, offset + at + (value + 1) * 8
            if place[0] not in executable or (kind == _FUNCTION and target is None):
                continue  # a map, a variable, a number
            callee = places[place]
            one.calls.append(callee.name)
        found[symbol.name] = one
    return found


def _relocations(elf: Elf, section: str) -> Iterator[tuple[int, tuple[int, int]]]:
    """Offset in the section -> (section, offset) of the symbol that is meant there."""
    if (table := elf.section(f".rel{section}")) is None:
        return
    for offset, info in _RELOCATION.iter_unpack(table.data):
        symbol = elf.symbols[info >> 32]
        yield offset, (symbol.section, symbol.offset)


def _references(code: bytes) -> Iterator[tuple[int, int, int]]:
    """(offset, kind, immediate) of each instruction that may name a function."""
    for number, (opcode, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(code)):
        if opcode == _CALL and registers >> 4 == _LOCAL_CALL:
            yield number * 8, _LOCAL_CALL, immediate
        elif opcode == _LOAD_64:
            yield number * 8, _FUNCTION, immediate


def _read_frame(one: Function, code: bytes) -> None:
    """How far down from the frame pointer the function's loads, stores and addresses go."""
    copies: set[int] = set()  # registers that hold the frame pointer itself
    for opcode, registers, offset, immediate in _INSTRUCTION.iter_unpack(code):
        to, source = registers & 15, registers >> 4
        kind = opcode & 7
        if opcode == _CALL and source == 0:
            one.tail_calls |= immediate == _TAIL_CALL
            one.loops |= immediate == _LOOP
        if (source if kind == _LOADS else to if kind in _STORES else None) == _FRAME_POINTER:
            one.frame = max(one.frame, -offset)
        if opcode == _MOVE and source == _FRAME_POINTER:
            copies.add(to)
        elif opcode == _ADD and to in copies:
            one.frame = max(one.frame, -immediate)
            copies.discard(to)
        elif kind in _CHANGES:
            copies.discard(to)


def deepest(of: dict[str, Function], program: str) -> Chain:
    """The chain of calls from a program on that takes most of the stack."""
    known: dict[str, Chain] = {}

    def below(name: str) -> Chain:
        if name not in known:
            one = of[name]
            chains = [below(callee) for callee in dict.fromkeys(one.calls)]
            most = max(chains, default=Chain(0, ()), key=lambda chain: chain.depth)
            known[name] = Chain(one.rounded + most.depth, (one, *most.functions))
        return known[name]

    return below(program)


def longest(of: dict[str, Function], program: str) -> int:
    """How many functions the longest chain of calls has."""
    return 1 + max((longest(of, callee) for callee in set(of[program].calls)), default=0)


def appended(of: dict[str, Function], program: str) -> list[Function]:
    """The program and what it needs, in the order in which libbpf puts it together."""
    found: dict[str, Function] = {}

    def append(name: str) -> None:
        found[name] = of[name]
        for callee in of[name].calls:
            if callee not in found:
                append(callee)

    append(program)
    return list(found.values())


def refusals(of: dict[str, Function]) -> Iterator[str]:
    """Why 6.1 would refuse programs of an object, a line each."""
    for name in (one.name for one in of.values() if one.program):
        if (chain := deepest(of, name)).depth > LIMIT:
            yield f"{name}: {chain}"
        if (calls := longest(of, name)) > CALLS:
            yield f"{name}: {calls} calls in a row"
        for one in appended(of, name)[1:]:
            if one.tail_calls and (most := _callers(of, name, one.name)) >= BELOW_A_TAIL_CALL:
                yield f"{name}: {one.name} makes tail calls, {most} bytes down"


def _callers(of: dict[str, Function], program: str, callee: str) -> int:
    """The most bytes that callers of a function have on the stack when a program gets there."""
    if program == callee:
        return 0
    reached = [each for each in set(of[program].calls) if callee in {one.name for one in appended(of, each)}]
    return max((of[program].rounded + _callers(of, each, callee) for each in reached), default=0)


def objects() -> list[Path]:
    """Every object that is built."""
    from importlib import resources

    return sorted(Path(str(resources.files("ebpfmesh.bpf"))).rglob("*.bpf.o"))


def main(paths: list[str]) -> int:
    """Prints the deepest chain of each program; 1 if 6.1 would refuse one."""
    refused = False
    for path in map(Path, paths) if paths else objects():
        of = functions(path)
        for one in of.values():
            if one.program:
                print(path.name, one.name, deepest(of, one.name))
        for line in refusals(of):
            refused = True
            print(path.name, line, file=sys.stderr)
    return refused


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
