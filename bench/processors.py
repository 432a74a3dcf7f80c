"""Processor time and memory: what the kernel's own accounts say."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Account:
    """Microseconds since some beginning: of all processes in cgroups, and of the machine, of which softirq is a part."""

    cgroups_us: float
    machine_us: float
    softirq_us: float

    def since(self, before: Account) -> Account:
        """What came to it."""
        return Account(
            self.cgroups_us - before.cgroups_us,
            self.machine_us - before.machine_us,
            self.softirq_us - before.softirq_us,
        )


def account(cgroups: Iterable[Path]) -> Account:
    """Now. The cgroups' time is exact (the scheduler's clock), the machine's is in ticks."""
    used = sum(cpu_stat((cgroup / "cpu.stat").read_text()) for cgroup in cgroups)
    machine, softirq = machine_stat(Path("/proc/stat").read_text())
    return Account(used, machine, softirq)


def cpu_stat(text: str) -> int:
    """usage_usec of a cgroup's cpu.stat."""
    return int(dict(line.split() for line in text.splitlines())["usage_usec"])


def machine_stat(text: str) -> tuple[float, float]:
    """Microseconds of all processors that were not idle nor stolen, and of them those in softirq and irq (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, text.split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) * _TICK_US, (irq + softirq) * _TICK_US


def process_us(pids: Iterable[int]) -> float:
    """Microseconds of processor time of these processes, in ticks."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_US


def memory(pids: Iterable[int]) -> dict[str, float]:
    """RSS of each process added up, and with what they share divided among those that do (PSS), in MB of 10^6 bytes."""
    totals = {"Rss": 0, "Pss": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            if name in totals:
                totals[name] += int(rest.split()[0]) * 1024
    return {f"{name.lower()}_mb": round(total / 1e6, 2) for name, total in totals.items()}


def kernel_bytes(pid: int) -> dict[str, int]:
    """The kernel's own figure for all BPF maps, and all programs, behind descriptors of the process."""
    found: dict[str, dict[str, int]] = {"map_id": {}, "prog_id": {}}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in entry.read_text().splitlines() if ":\t" in line)
        for kind, by_id in found.items():
            if kind in fields and "memlock" in fields:
                by_id[fields[kind]] = int(fields["memlock"])
    return {"maps": sum(found["map_id"].values()), "programs": sum(found["prog_id"].values())}
