"""The workloads of a mesh: found by name, chosen by id and labels, recognised by cgroup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ebpfmesh.identity import cgroup_path, spiffe
from ebpfmesh.identity.workload import Workload


class Workloads:
    """The workloads of a configuration that passed the check; of two with one cgroup or name, the first."""

    def __init__(self, workloads: Iterable[Workload] = ()) -> None:
        self._workloads = tuple(workloads)
        self._names: dict[str, Workload] = {}
        self._cgroups: dict[str, Workload] = {}
        for workload in self._workloads:
            self._names.setdefault(workload.name, workload)
            self._cgroups.setdefault(cgroup_path.normal(workload.cgroup), workload)

    def __iter__(self) -> Iterator[Workload]:
        return iter(self._workloads)

    def __len__(self) -> int:
        return len(self._workloads)

    def get(self, name: str) -> Workload | None:
        """The workload of that name, or None."""
        return self._names.get(name)

    def at(self, cgroup: str) -> Workload | None:
        """Who the processes of a cgroup are: the workload of the deepest cgroup that has one, from it upwards, or None."""
        for path in cgroup_path.upwards(cgroup):
            if (found := self._cgroups.get(path)) is not None:
                return found
        return None

    def chosen(
        self, *, name: str | None = None, selector: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Workload]:
        """The workloads of that name, whose id ``selector`` means, that have all ``labels``; None asks nothing."""
        return [one for one in self._workloads if chosen(one, name=name, selector=selector, labels=labels)]


def chosen(
    workload: Workload,
    *,
    name: str | None = None,
    selector: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> bool:
    """Whether a workload has that name, an id that ``selector`` means, and all ``labels``; None asks nothing."""
    if name is not None and workload.name != name:
        return False
    if selector is not None and (workload.spiffe is None or not spiffe.matches(selector, workload.spiffe)):
        return False
    return labels is None or labels.items() <= workload.labels.items()
