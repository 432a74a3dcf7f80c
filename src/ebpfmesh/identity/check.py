"""What is wrong with the workloads of a mesh, each problem with the path of the field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError
from ebpfmesh.identity import cgroup_path, spiffe
from ebpfmesh.identity.workload import Workload

LONGEST_LABEL = 63
DEEPEST = 15
"""Levels of a cgroup that is told apart from those around it."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NUMBERS = re.compile(r"[0-9.]+")


def problems(workloads: Sequence[Workload], cgroup: str) -> Iterator[EbpfMeshError]:
    """Everything that is wrong with ``workloads``, whose mesh has the clients below ``cgroup``; types are right already."""
    names: dict[str, int] = {}
    cgroups: dict[str, int] = {}
    for position, workload in enumerate(workloads):
        where = f"$.workloads[{position}]"
        yield from _name(workload, where, names, position)
        yield from _cgroup(workload, where, cgroup, cgroups, position)
        if workload.spiffe is not None and (wrong := spiffe.problem(workload.spiffe)):
            yield ConfigError(wrong[0], where=f"{where}.spiffe", remedy=wrong[1])
        yield from label_problems(workload.labels, f"{where}.labels")


def label_problems(labels: dict[str, str], where: str) -> Iterator[ConfigError]:
    """What is wrong with labels, of a workload or asked for."""
    for name, value in labels.items():
        for what, text in (("name", name), ("value", value)):
            blank = not text if what == "name" else False
            if blank or not text.isprintable() or len(text.encode(errors="replace")) > LONGEST_LABEL:
                yield ConfigError(
                    f"{text[:80]!r} is no {what} of a label",
                    where=f"{where}.{name[:80]}",
                    remedy=f"at most {LONGEST_LABEL} bytes of printable text",
                )


def depth_problem(path: str, where: str) -> CapacityError | None:
    """The error for a cgroup that the kernel's programs do not look at, however deep the process is."""
    if (levels := cgroup_path.depth(path)) <= DEEPEST:
        return None
    return CapacityError(
        f"{path!r} is {levels} levels below the mount, and {DEEPEST} are looked at",
        where=where,
        remedy="name one above it",
    )


def _name(workload: Workload, where: str, names: dict[str, int], position: int) -> Iterator[ConfigError]:
    name = workload.name
    if not _NAME.fullmatch(name) or _NUMBERS.fullmatch(name):
        yield ConfigError(
            f"{name[:80]!r} is no name of a workload",
            where=f"{where}.name",
            remedy='1 to 63 of letters, digits, "-", "_" and ".", not all of them digits, a letter or digit at either end',
        )
    if (first := names.setdefault(name, position)) != position:
        yield ConfigError(
            f"the name {name!r} is that of $.workloads[{first}] already",
            where=f"{where}.name",
            remedy="names are unique in a mesh",
        )


def _cgroup(
    workload: Workload, where: str, mesh: str, cgroups: dict[str, int], position: int
) -> Iterator[EbpfMeshError]:
    where = f"{where}.cgroup"
    if what := cgroup_path.problem(workload.cgroup):
        yield ConfigError(what, where=where, remedy='write it below the cgroup v2 mount: "/mesh/checkout"')
        return
    if too_deep := depth_problem(workload.cgroup, where):
        yield too_deep
    if cgroup_path.problem(mesh) is None and not cgroup_path.within(workload.cgroup, mesh):
        yield ConfigError(
            f"{workload.cgroup!r} is outside of the mesh's cgroup {mesh!r}, whose processes are its clients",
            where=where,
            remedy=f'write one below it, as in "{mesh.rstrip("/")}/{workload.name}"',
        )
    if (first := cgroups.setdefault(cgroup_path.normal(workload.cgroup), position)) != position:
        yield ConfigError(
            f"{workload.cgroup!r} is the cgroup of $.workloads[{first}] already",
            where=where,
            remedy="a process is one workload; give each a cgroup of its own",
        )
