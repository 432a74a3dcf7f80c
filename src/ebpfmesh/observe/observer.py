"""Observer: a mesh as it is seen from outside, by its pinned maps; its agent may live or be dead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from ebpfmesh.errors import HostError
from ebpfmesh.observe import log, metrics, prometheus
from ebpfmesh.observe.decision import Decision
from ebpfmesh.observe.log import Stream
from ebpfmesh.observe.metrics import Metrics
from ebpfmesh.observe.opened import Opened

if TYPE_CHECKING:
    from ebpfmesh.ownership import PinDirectory


class Observer:
    """Reads the metrics and the decisions of one mesh; changes nothing, but takes records out of the log's ring.

    A context manager. Minimum kernel: 5.18, as the mesh. Capabilities: CAP_BPF.
    """

    def __init__(self, pins: PinDirectory) -> None:
        self._pins = pins

    @classmethod
    def of(cls, name: str, *, run_root: str | Path | None = None, bpffs: str | Path | None = None) -> Self:
        """The mesh ``name`` of this host; ``run_root`` and ``bpffs`` as for `ebpfmesh.Mesh`.

        Errors: HostError if none of that name is installed; CapabilityError.
        """
        from ebpfmesh.ownership import RUN_ROOT
        from ebpfmesh.ownership.cleanup import pin_directories

        found = pin_directories(name, RUN_ROOT if run_root is None else run_root, bpffs)
        if not found:
            raise HostError(f"no mesh {name} is installed", remedy="start it: ebpfmesh run FILE")
        return cls(found[0])

    def metrics(self) -> Metrics:
        """What was counted of requests. Errors: HostError if the mesh judges none; CapabilityError."""
        with Opened.pinned(self._pins, metrics.MAPS) as opened:
            return metrics.read(opened)

    def recent(self) -> list[Decision]:
        """The last decisions, at most 1024, oldest first. Errors: as `metrics`."""
        with Opened.pinned(self._pins, log.RECENT_MAPS) as opened:
            return log.recent(opened)

    def stream(self, *, earlier: bool = False) -> Stream:
        """Decisions as they are made; with ``earlier``, first those that nobody read yet. Errors: as `metrics`."""
        return Stream(Opened.pinned(self._pins, log.STREAM_MAPS), earlier=earlier)

    def prometheus(self) -> str:
        """Metrics of requests, if the mesh judges any, and of connections, in Prometheus' text format."""
        from ebpfmesh.tiers.connect import status

        judges = "l7_metrics" in self._pins.maps()
        found = self.metrics() if judges else None
        return prometheus.exposition(self._pins.name, found, status.read(self._pins))

    def close(self) -> None:
        """Close what is open; streams are closed by themselves."""
        self._pins.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
