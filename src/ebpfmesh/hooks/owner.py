"""Who holds a program or a link: the processes with a descriptor of it, as far as /proc shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def holders(*, program: int = 0, link: int = 0) -> tuple[int, ...]:
    """The ids of the processes that have the program or the link open, in order.

    A pinned link may be held by nobody. Processes that this one may not look into are not seen; with
    CAP_SYS_PTRACE all are.
    """
    wanted = {f"prog_id:\t{program}"} if program else set()
    if link:
        wanted.add(f"link_id:\t{link}")
    return tuple(sorted(pid for pid in _pids() if _holds(pid, wanted)))


def describe(name: str, program: int, link: int | None) -> str:
    """An attached program in words: its name, its id, its link, and the processes that hold it."""
    text = f"program {name} (id {program}" + (f", link {link})" if link else ")")
    processes = ", ".join(f"{pid} ({_command(pid)})" for pid in holders(program=program, link=link or 0))
    return (
        f"{text}, open in process {processes}"
        if processes
        else f"{text}, open in no process that can be seen"
    )


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names, not paths


def _holds(pid: int, wanted: set[str]) -> bool:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended, or is not ours to look into
        return False
    return any(not wanted.isdisjoint(_description(pid, entry)) for entry in entries)


def _description(pid: int, entry: Path) -> list[str]:
    """The lines of a BPF descriptor's fdinfo; none for any other, which would take long to read for every socket."""
    try:
        if str(entry.readlink()).startswith("anon_inode:bpf"):
            return Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().splitlines()
    except OSError:  # closed meanwhile
        pass
    return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
