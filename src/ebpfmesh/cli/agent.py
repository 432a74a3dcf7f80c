"""Whether the agent of a mesh lives, and what it or its predecessor recorded: for commands that look at it from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """``running`` with pid and since when; ``kept`` (stopped, the data path left in place); ``dead``; or ``absent``."""

    name: str
    state: Literal["running", "kept", "dead", "absent"]
    pid: int | None = None
    since: str | None = None
    cgroup: str | None = None
    pins: str | None = None

    def __str__(self) -> str:
        return {
            "running": f"the agent runs: process {self.pid} since {self.since}",
            "kept": "the agent was stopped, and the data path left in place",
            "dead": f"the agent is dead (it was process {self.pid}); the kernel goes on without it",
            "absent": "no agent runs",
        }[self.state]


def agent_state(name: str, run_root: Path) -> AgentState:
    """What the lock and the owner record say. Errors: HostError if they may not be read."""
    from ebpfmesh.ownership import OwnerRecord, RunDirectory, holder

    directory = RunDirectory(name, run_root)
    held = holder(directory)
    record = OwnerRecord.read(directory.owner_file)
    cgroup, pins = (record.cgroup, record.pins) if record else (None, None)
    if held is not None:
        return AgentState(
            name=name, state="running", pid=held.process.pid, since=held.since, cgroup=cgroup, pins=pins
        )
    if record is None or not record.this_boot:
        return AgentState(name=name, state="absent")
    return AgentState(
        name=name,
        state="kept" if record.state == "kept" else "dead",
        pid=record.pid,
        since=record.started,
        cgroup=cgroup,
        pins=pins,
    )
