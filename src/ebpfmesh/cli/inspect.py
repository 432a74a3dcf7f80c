"""``ebpfmesh inspect OBJECT``: what a BPF object holds, read offline; needs no privileges and no BPF in the kernel."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.cli.output import plural, print_json, table

if TYPE_CHECKING:
    from ebpfmesh.layout import Layout
    from ebpfmesh.spec import MapSpec, ObjectSpec, ProgramSpec, VariableSpec

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OBJECT and --json."""
    parser.add_argument("object", type=Path, metavar="OBJECT", help="a .bpf.o file made by clang -target bpf")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print programs, maps, global variables, licence and size. Errors: SpecError if it is no BPF object."""
    from ebpfmesh.spec import ObjectSpec

    spec = ObjectSpec.from_file(arguments.object)
    if arguments.json:
        print_json(_document(spec))
    else:
        # names come from the file, which may be anybody's: none of them may steer the terminal
        lines = [
            "".join(c if c.isprintable() else "?" for c in line) for line in _lines(spec, arguments.object)
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _document(spec: ObjectSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "size": spec.size,
        "sha256": spec.sha256,
        "license": spec.license,
        "programs": [_program(program) for program in spec.programs.values()],
        "maps": [_map(map) for map in spec.maps.values()],
        "variables": [_variable(variable) for variable in spec.variables.values()],
        "sections": [
            {"name": section.name, "size": section.size, "constant": section.constant}
            for section in spec.sections.values()
        ],
    }


def _program(program: ProgramSpec) -> dict[str, Any]:
    return {
        "name": program.name,
        "section": program.section,
        "type": None if program.type is None else program.type.name,
        "attach_type": None if program.attach_type is None else program.attach_type.name,
        "instructions": program.instructions,
        "autoload": program.autoload,
        "sleepable": program.meaning.sleepable,
        "libbpf": ".".join(map(str, program.meaning.libbpf)),
    }


def _layout(layout: Layout | None) -> dict[str, Any] | None:
    if layout is None:
        return None
    return {"type": layout.format, "signature": layout.signature, "hash": layout.hash()}


def _map(map: MapSpec) -> dict[str, Any]:
    return {
        "name": map.name,
        "type": map.type.name,
        "key_size": map.key_size,
        "value_size": map.value_size,
        "max_entries": map.max_entries,
        "flags": _flags(map),
        "pinned_by_name": bool(map.pinning),
        "key": _layout(map.key),
        "value": _layout(map.value),
        "inner": None if map.inner is None else _map(map.inner),
        "hash": map.hash(),
    }


def _variable(variable: VariableSpec) -> dict[str, Any]:
    return {
        "name": variable.name,
        "section": variable.section,
        "offset": variable.offset,
        "size": variable.size,
        "constant": variable.constant,
        "type": None if variable.layout is None else variable.layout.format,
    }


def _flags(map: MapSpec) -> list[str]:
    """Names of the flags; a bit without a name as a number."""
    return [flag.name or hex(flag) for flag in map.flags]


def _lines(spec: ObjectSpec, path: Path) -> list[str]:
    lines = [f"{path}: {spec.size} bytes, licence {spec.license or 'not given'}", f"sha256 {spec.sha256}", ""]
    lines += [plural(len(spec.programs), "program")]
    lines += _table(
        ("program", "section", "type", "attach type", "instructions", ""), spec.programs, _program_row
    )
    lines += [plural(len(spec.maps), "map")]
    for map in spec.maps.values():
        lines += _map_lines(map, "  ")
    lines += ["", plural(len(spec.variables), "global variable")]
    return lines + _table(("variable", "section", "offset", "bytes", "type"), spec.variables, _variable_row)


def _table(
    header: tuple[str, ...], specs: Mapping[str, Any], row: Callable[[Any], list[object]]
) -> list[str]:
    if not specs:
        return [""]
    return [*(f"  {line}" for line in table(header, [row(spec) for spec in specs.values()]).splitlines()), ""]


def _capacity(entries: int) -> str:
    if not entries:
        return "size set at load"
    return "1 entry" if entries == 1 else f"{entries} entries"


def _program_row(program: ProgramSpec) -> list[object]:
    return [
        program.name,
        program.section,
        "unknown section" if program.type is None else program.type.name,
        "-" if program.attach_type is None else program.attach_type.name,
        program.instructions,
        "" if program.autoload else "loaded on request only",
    ]


def _map_lines(map: MapSpec, indent: str) -> list[str]:
    notes = [
        map.type.name,
        _capacity(map.max_entries),
        *_flags(map),
    ]
    notes += ["pinned by name"] if map.pinning else []
    lines = [f"{indent}{map.name}: {', '.join(notes)}"]
    for name, size, layout in (("key", map.key_size, map.key), ("value", map.value_size, map.value)):
        if size:
            lines.append(f"{indent}  {name:5} {size:5} bytes  {layout.format if layout else ''}".rstrip())
    return lines + (_map_lines(map.inner, f"{indent}  ") if map.inner else [])


def _variable_row(variable: VariableSpec) -> list[object]:
    layout = variable.layout.format if variable.layout else ""
    return [variable.name, variable.section, variable.offset, variable.size, layout]
