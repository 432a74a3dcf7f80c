"""Where a scenario runs: one private network namespace, and private cgroups, `plain`, `mesh` and `sockmap`.

`plain` has no programs; direct, HAProxy and Envoy run there. The mesh attaches to `mesh` and to nothing else, and
what is compared with it on the way to `sockmap`. They are siblings, so that what a cgroup itself costs is the same.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ebpfmesh.testing import NetNs, PrivateCgroup, private_bpffs, private_cgroup, private_netns


class Ground:
    """The namespace `netns`, the `cgroups` by name, a `bpffs` and a temporary `directory`."""

    def __init__(self, netns: NetNs, cgroups: dict[str, PrivateCgroup], bpffs: Path, directory: Path) -> None:
        self.netns, self.cgroups, self.bpffs, self.directory = netns, cgroups, bpffs, directory
        self._rooms = 0

    def room(self, name: str) -> Path:
        """A new directory for the files of one process, which unprivileged workers may enter."""
        self._rooms += 1
        path = self.directory / f"{self._rooms}-{name}"
        path.mkdir(mode=0o755)
        return path

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.netns.path}", "--", *command]

    def popen(self, command: Sequence[str], *, cgroup: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start `command` in the namespace and the named cgroup; a session of its own keeps Ctrl-C from it."""
        return self.cgroups[cgroup].popen(
            self._inside(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: Sequence[str], *, cgroup: str, timeout: float) -> str:
        """Run `command` to its end and return what it printed. RuntimeError if it fails or takes too long."""
        done = self.cgroups[cgroup].run(
            self._inside(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return str(done.stdout)

    def python(self, module: str, *arguments: str, cgroup: str, timeout: float) -> str:
        """Run a module of this package in a process of its own."""
        return self.run([sys.executable, "-m", module, *arguments], cgroup=cgroup, timeout=timeout)

    def listening(self, address: tuple[str, int]) -> bool:
        """Whether somebody accepts connections at `address`, asked from outside both cgroups."""

        def connect() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.settimeout(1)
                return probe.connect_ex(address) == 0

        return self.netns.call(connect)


@contextmanager
def ground() -> Iterator[Ground]:
    """Make everything, and remove it in the opposite order, whatever ends the block."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpfmesh-bench-") as directory,
        private_bpffs() as bpffs,
        private_netns() as netns,
        private_cgroup() as plain,
        private_cgroup() as mesh,
        private_cgroup() as sockmap,
    ):
        Path(directory).chmod(0o755)
        netns.call(_many_ports)
        cgroups = {"plain": plain, "mesh": mesh, "sockmap": sockmap}
        yield Ground(netns, cgroups, bpffs, Path(directory))


def _many_ports() -> None:
    """Connections by the ten thousand leave as many ports in TIME_WAIT; the sysctl is the namespace's own."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("10000 65535")
    Path("/proc/sys/net/core/somaxconn").write_text("4096")
