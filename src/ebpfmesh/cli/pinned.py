"""Where the maps of a mesh are pinned, for commands that read them whether its agent lives or not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ebpfmesh.errors import HostError

if TYPE_CHECKING:
    from ebpfmesh.ownership import PinDirectory


def pins_of(name: str, arguments: argparse.Namespace) -> PinDirectory:
    """The pins of the mesh ``name``. HostError, with what to do about it, if none are to be seen from here."""
    from ebpfmesh.cli.agent import agent_state
    from ebpfmesh.ownership.cleanup import pin_directories

    found = pin_directories(name, arguments.run_root, arguments.bpffs)
    if found:
        return found[0]
    agent = agent_state(name, arguments.run_root)
    if (
        agent.state == "running"
    ):  # its bpffs is mounted in another mount namespace, or it is only just starting
        remedy = f"try again, or look from its mount namespace: nsenter --mount --target {agent.pid}"
        raise HostError(
            f"process {agent.pid} runs it, but its pins are not to be seen from here",
            where=f"mesh {name}",
            remedy=remedy,
        )
    raise HostError(f"no mesh {name} is installed", where=str(arguments.run_root), remedy="ebpfmesh run FILE")
