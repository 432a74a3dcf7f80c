"""Which mesh a command means: the one that is named, or the only one there is."""

from __future__ import annotations

import argparse

from ebpfmesh.errors import HostError


def add_name(parser: argparse.ArgumentParser) -> None:
    """The optional NAME argument."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the mesh's name; may be left out if there is one only"
    )


def mesh_name(arguments: argparse.Namespace) -> str:
    """The name that was given, checked, or that of the only mesh that left a run directory or pins.

    Errors: ConfigError if it is no name; HostError if there is no mesh. Several are a wrong usage (exit status 2).
    """
    from ebpfmesh.ownership.name import check_name

    if arguments.name is not None:
        return check_name(arguments.name, where="NAME")
    found = known(arguments)
    if not found:
        raise HostError(
            "there is no mesh on this host", where=str(arguments.run_root), remedy="ebpfmesh run FILE"
        )
    if len(found) > 1:
        arguments.parser.error(f"there are several meshes, name one: {', '.join(found)}")
    return found[0]


def known(arguments: argparse.Namespace) -> list[str]:
    """The names of the meshes that left a run directory or pins, sorted."""
    from ebpfmesh.ownership import names
    from ebpfmesh.ownership.bpffs import pinned_names

    return sorted({*names(arguments.run_root), *pinned_names(arguments.run_root, arguments.bpffs)})
