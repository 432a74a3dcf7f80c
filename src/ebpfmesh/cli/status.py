"""``ebpfmesh status [NAME]``: services, backends and counters from the kernel's maps, the agent alive or dead."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ebpfmesh.cli.mesh_name import add_name, mesh_name

if TYPE_CHECKING:
    from ebpfmesh.ownership import PinDirectory, RunDirectory
    from ebpfmesh.tiers.connect.status import Status
    from ebpfmesh.tiers.l7.status import L7Status, MeshStatus

_SHOWN = ("connections", "open", "requests", "allowed", "denied", "limited")  # in columns of their own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME and --json."""
    add_name(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; HostError if nothing of that name is here."""
    from ebpfmesh.cli.agent import agent_state
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.cli.pinned import pins_of
    from ebpfmesh.ownership import RunDirectory

    name = mesh_name(arguments)
    agent = agent_state(name, arguments.run_root)
    pins = pins_of(name, arguments)
    found = _read(pins, RunDirectory(name, arguments.run_root))
    links = sorted(pins.links())
    pins.close()
    if arguments.json:
        print_json({"agent": agent, "links": links, "status": found})
    else:
        print(f"mesh {name}: {agent}")
        print(_text(found, links, agent.cgroup))
    return 0


def _read(pins: PinDirectory, directory: RunDirectory) -> MeshStatus:
    from ebpfmesh.tiers.connect import status
    from ebpfmesh.tiers.l7 import status as l7_status

    connect = status.read(pins)
    l7, draining = None, 0
    if "l7_settings" in pins.maps():
        from ebpfmesh.tiers.l7 import behaviour

        l7 = l7_status.read(pins, status.numbers(pins), behaviour.remembered(directory.behaviour_file))
    if pins.draining():
        from ebpfmesh.tiers.l7 import draining as drains

        draining = drains.count(pins)
    return l7_status.joined(connect, l7, draining)


def _text(status: MeshStatus, links: list[str], cgroup: str | None) -> str:
    from ebpfmesh.cli.output import plural, size, table

    where = f" to {cgroup}" if cgroup else ""
    attached = f"{plural(len(links), 'program')} attached{where}"
    lines = [f"{attached}; generation {status.generation}; {size(status.memory)} of kernel memory", ""]
    rows: list[list[object]] = []
    for service in status.services:
        addresses = ", ".join(service.addresses)
        rows.append([
            f"{service.name}/{service.protocol}", addresses, service.balancer, service.opened, service.active,
            service.failed, service.closed, size(service.bytes_sent), size(service.bytes_received), service.datagrams,
        ])  # fmt: skip
        for backend in service.backends:
            note = f"weight {backend.weight}" if backend.weight else "no new"
            if backend.leaving:
                note = "leaving"
            rows.append([
                "", f"  {backend.address}", note, backend.opened, backend.active, backend.failed, backend.closed,
                size(backend.bytes_sent), size(backend.bytes_received), backend.datagrams,
            ])  # fmt: skip
    header = [
        "SERVICE", "ADDRESS", "BALANCE", "OPENED", "ACTIVE", "FAILED", "CLOSED", "SENT", "RECEIVED", "DATAGRAMS",
    ]  # fmt: skip
    lines.append(table(header, rows) if rows else "no services")
    lines += _troubles(status)
    if status.l7 is not None:
        lines += _policies(status.l7)
    if status.draining:
        lines += [
            "",
            f"{plural(status.draining, 'connection')} of an earlier run pass as plain ones until they close",
        ]
    return "\n".join(lines)


def _policies(status: L7Status) -> list[str]:
    from ebpfmesh.cli.output import plural, size, table

    where = f"{plural(status.enrolled, 'connection')} enrolled; {size(status.memory)} of kernel memory"
    lines = ["", f"policies: generation {status.generation}; {where}", ""]
    header = ["SERVICE", "PROTOCOL", "CONNECTIONS", "OPEN", "REQUESTS", "ALLOWED", "DENIED", "LIMITED"]
    rows = [
        [
            one.name, one.protocol, one.connections, one.open, one.requests, one.allowed, one.denied, one.limited,
        ]
        for one in status.services
    ]  # fmt: skip
    lines.append(table(header, rows) if rows else "no policies")
    for one in status.services:
        rest = [f"{name} {count}" for name, count in one.counters.items() if name not in _SHOWN]
        lines += [f"{one.name}: {', '.join(rest)}"] if rest else []
    lines += [
        f"on enrolled sockets this kernel fails {name}: {text}" for name, text in status.failing.items()
    ]
    if status.left_out:
        lines.append(f"left out here: {', '.join(status.left_out)}; refusals are EACCES at send()")
        lines += [f"{name} is left out: {why}" for name, why in status.reasons.items()]
    return lines


def _troubles(status: Status) -> list[str]:
    from ebpfmesh.cli.output import plural

    lines = []
    for service in status.services:
        if service.refused:
            lines.append(
                f"{service.name}: {plural(service.refused, 'connection')} refused for want of a backend"
            )
        if service.errors:
            lines.append(
                f"{service.name}: {plural(service.errors, 'failure')} in the kernel; its on_error decided"
            )
        if service.reply_misses:
            lines.append(
                f"{service.name}: {service.reply_misses} UDP replies kept the address of their backend"
            )
    return ["", *lines] if lines else []
