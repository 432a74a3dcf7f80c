"""Owning a mesh on this host: the lock, then what a predecessor left, then the pins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from types import TracebackType

import msgspec

from ebpfmesh.errors import OwnershipError
from ebpfmesh.ownership import bpffs as bpf_file_system
from ebpfmesh.ownership.cgroup import Cgroup
from ebpfmesh.ownership.layout import LAYOUT_VERSION
from ebpfmesh.ownership.lock import Lock
from ebpfmesh.ownership.owner import OwnerRecord
from ebpfmesh.ownership.pins import DRAINING, PinDirectory
from ebpfmesh.ownership.process import Process
from ebpfmesh.ownership.run_directory import RUN_ROOT, RunDirectory


class Ownership:
    """What an agent holds for its life: ``lock``, ``run_directory``, ``cgroup`` (open) and ``pins``.

    ``previous`` is the record of a predecessor that died or stopped with ``keep``, None on a fresh start;
    ``notices`` says in plain sentences what was found and done about it.
    """

    def __init__(self, run_directory: RunDirectory, lock: Lock, cgroup: Cgroup) -> None:
        self.run_directory = run_directory
        self.lock = lock
        self.cgroup = cgroup
        self.name = run_directory.name
        self.previous: OwnerRecord | None = None
        self.notices: list[str] = []
        self.elsewhere: list[str] = []
        """Keys of links at another cgroup; whoever attaches removes them once the new links are there."""
        self.pins: PinDirectory
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._record: OwnerRecord | None = None
        self._held = True

    @classmethod
    def acquire(
        cls,
        name: str,
        *,
        cgroup: str | Path,
        run_root: str | Path = RUN_ROOT,
        bpffs: str | Path | None = None,
        allow_root_cgroup: bool = False,
    ) -> Ownership:
        """Become the owner of ``name``.

        Takes the lock, reads the predecessor's record, finds or mounts a bpffs, checks that every pin is
        ours and of this layout version, and notes links at another cgroup (`elsewhere`). Maps and live links
        stay for the take-over.

        Errors: HeldError (another agent lives), OwnershipError (something foreign at our pin path; it is
        left alone), LayoutError, ConfigError (the name, the cgroup), HostError (no cgroup v2, no bpffs),
        CapabilityError. Minimum kernel: 5.8. Capabilities: CAP_BPF, CAP_NET_ADMIN; CAP_SYS_ADMIN where no
        bpffs is mounted.
        """
        run_directory = RunDirectory(name, run_root)
        opened = Cgroup.open(cgroup, allow_root=allow_root_cgroup)
        try:
            lock = Lock.take(run_directory)
        except BaseException:
            opened.close()
            raise
        ownership = cls(run_directory, lock, opened)
        try:
            ownership._take_over(Path(bpffs) if bpffs is not None else None)
        except BaseException:
            ownership._abandon()
            raise
        return ownership

    # --- start ----------------------------------------------------------------------------------------------
    def _take_over(self, bpffs: Path | None) -> None:
        previous = OwnerRecord.read(self.run_directory.owner_file)
        if previous is None and self.run_directory.owner_file.exists():
            self.notices.append(
                f"the owner record {self.run_directory.owner_file} cannot be read; the pins decide"
            )
        if previous is not None and not previous.this_boot:
            self.notices.append("the owner record is of another boot; its pins are gone")
            previous = None
        preferred = Path(previous.bpffs) if previous is not None else None
        root = self.run_directory.root
        with bpf_file_system.exclusive(root):
            mounted = bpf_file_system.require(root, asked=bpffs, preferred=preferred)
            self.pins = PinDirectory(mounted, self.name)
            self.pins.check_foreign()
            self.pins.check_version()
            self.pins.create()
        self._reconcile(previous)

    def _reconcile(self, previous: OwnerRecord | None) -> None:
        """Decide between a take-over and a fresh start, and leave only pins that can be used."""
        found = self.pins.survey()
        if drains := [
            key for key in found.ours if key.startswith(f"{DRAINING}/")
        ]:  # of an earlier run: no part of this
            found = found._replace(ours={key: pin for key, pin in found.ours.items() if key not in drains})
        lost_maps = [key for key in found.missing if key.startswith("maps/")]
        if found.ours and lost_maps:
            # programs that run still use the maps that are gone: new maps beside them would split the state
            self.notices.append(
                f"pins are missing ({', '.join(lost_maps)}); the rest is removed, fresh start"
            )
            self._collect(list(found.ours), found.missing)
            return
        if found.ours and previous is None and not any(key.startswith("links/") for key in found.ours):
            # maps are pinned before links, the record is written after them: this start never attached anything
            self.notices.append("the last start was not finished; what it pinned is removed, fresh start")
            self._collect(list(found.ours), found.missing)
            return
        self._collect([], found.missing)
        if not found.ours:
            if found.missing or (previous is not None and previous.objects):
                self.notices.append(f"{self.pins.path} was emptied since the last run; fresh start")
            return
        if found.missing:
            self.notices.append(f"links are missing ({', '.join(found.missing)}); to be attached anew")
        elsewhere = [
            key
            for key, pin in found.ours.items()
            if pin.detail.get("cgroup_id") not in (None, str(self.cgroup.id))
        ]
        if elsewhere:
            moved = previous is not None and previous.cgroup != str(self.cgroup.path)
            where = previous.cgroup if moved and previous else "one that was removed since"
            self.notices.append(
                f"the last run was attached to {where}: its {len(elsewhere)} links are replaced"
            )
            self.elsewhere = elsewhere
        self.previous = previous

    def _collect(self, keys: list[str], missing: tuple[str, ...]) -> None:
        for key in [*sorted(keys), *missing]:  # links/ sorts before maps/
            self.pins.remove_pin(key)

    # --- life -----------------------------------------------------------------------------------------------
    def write_record(self, objects: Mapping[str, str] | None = None) -> OwnerRecord:
        """Write the owner record; ``objects`` maps the name of each loaded object to the SHA-256 of its
        file.
        """
        self._record = OwnerRecord(
            layout_version=LAYOUT_VERSION,
            version=_version(),
            process=Process.current(),
            cgroup=str(self.cgroup.path),
            cgroup_id=self.cgroup.id,
            bpffs=str(self.pins.bpffs),
            pins=str(self.pins.path),
            started=self._started,
            objects=dict(objects or {}),
        )
        self._record.write(self.run_directory.owner_file)
        return self._record

    def release(self, keep: bool = False) -> list[str]:
        """End the ownership. Returns notices about what had to stay.

        Without ``keep`` every pin of ours goes (links detached first), then the record, the run directory
        and our own bpffs if empty. With ``keep`` the pins and the record stay, and the data path goes on
        without an agent.
        """
        if not self._held:
            return []
        if keep:
            if self._record is not None:
                msgspec.structs.replace(self._record, state="kept").write(self.run_directory.owner_file)
            self._let_go(remove=False)
            return []
        found = self.pins.remove()
        notices = [f"{path} stays: {what}" for path, what in found.foreign.items()]
        self.run_directory.remove_records()
        return notices + self._let_go(remove=True)

    def _abandon(self) -> None:
        """Undo a start that failed: what a predecessor left stays for it, what we made goes."""
        pins = getattr(self, "pins", None)
        fresh = not self.run_directory.owner_file.exists()
        if pins is not None and fresh:
            _remove_if_empty(pins)
        self._let_go(remove=fresh)

    def _let_go(self, *, remove: bool) -> list[str]:
        self._held = False
        used = []
        if hasattr(self, "pins"):
            self.pins.close()
            used = [self.pins.bpffs]
        self.cgroup.close()
        notice = bpf_file_system.tidy(self.run_directory.root, used) if remove else None
        self.lock.release(remove=remove)
        return [notice] if notice else []

    def __enter__(self) -> Ownership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _remove_if_empty(pins: PinDirectory) -> None:
    try:
        found = pins.survey()
    except OwnershipError:
        return
    if not found.ours and not found.foreign:
        pins.remove()


def _version() -> str:
    try:
        return package_version("ebpfmesh")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0"
