"""Which object holds a core, and whether it was built with the headers of this version."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from ebpfmesh.errors import HostError, SpecError
from ebpfmesh.harness.structures import SIZES
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.spec.btf import Btf, Kind
from ebpfmesh.spec.elf import read_elf

_REMEDY = "build it again with the installed version: ebpfmesh build-parser"
_SUFFIX = ".bpf.o"
KINDS = ("tc", "sk_msg", "sk_skb")
"""What L7_HARNESS makes of a core, NAME_KIND: the program that is fed by hand, and those of sockets."""


def builtins() -> list[str]:
    """The names of the cores that the package has objects of, in order."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _directory().glob(f"*{_SUFFIX}"))


def builtin_path(name: str) -> Path:
    """The object of a built-in core. Errors: HostError if there is none."""
    path = _directory() / f"{name}{_SUFFIX}"
    if not path.exists():
        there = ", ".join(builtins())
        remedy = f"there are: {there}" if there else "run `make objects`, or `pip install .`"
        raise HostError("the package has no object of this core", where=f"parser {name}", remedy=remedy)
    return path


def read(path: Path, name: str | None) -> tuple[ObjectSpec, str]:
    """The object at ``path`` and the name of its core; ``name`` is what it is expected to be.

    Errors: SpecError if it cannot be read, was not made with ``harness.h``, holds another core, or was built with other
    sizes than those of this version: both are named.
    """
    where = str(path)
    if not path.exists():
        raise SpecError(
            "there is no such object", where=where, remedy="ebpfmesh build-parser makes it from the core"
        )
    spec = ObjectSpec.from_file(path)
    cores = [
        program.removesuffix("_tc")
        for program in spec.programs
        if program.endswith("_tc") and all(f"{program[:-3]}_{kind}" in spec.programs for kind in KINDS)
    ]
    if not cores:
        raise SpecError(
            "it holds no parser core: no programs NAME_tc, NAME_sk_msg and NAME_sk_skb",
            where=where,
            remedy="build it with ebpfmesh build-parser, or with L7_HARNESS(NAME, …) of <ebpfmesh/harness.h>",
        )
    found = name or cores[0]
    if found not in cores:
        raise SpecError(f"it holds the core {cores[0]}, not {found}", where=where)
    _check_sizes(_sizes(spec, where), where)
    return spec, found


def _check_sizes(found: Mapping[str, int], where: str) -> None:
    for name, size in SIZES.items():
        if name not in found:
            raise SpecError(f"it has no struct {name}", where=where, remedy=_REMEDY)
        if found[name] != size:
            raise SpecError(
                f"struct {name} has {found[name]} bytes there and {size} bytes here",
                where=where,
                remedy=_REMEDY,
            )


def _sizes(spec: ObjectSpec, where: str) -> dict[str, int]:
    """The sizes of the object's structures by name."""
    section = read_elf(spec.data, where).section(".BTF")
    if section is None:
        raise SpecError("it has no BTF", where=where, remedy="compile it with -g")
    return {type.name: type.size for type in Btf(section.data, where).types if type.kind is Kind.STRUCT}


def _directory() -> Path:
    return Path(str(resources.files("ebpfmesh.bpf"))) / "harness"
