"""What is wrong with the sources that a rule, limit or fault asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.identity import cgroup_path, spiffe
from ebpfmesh.identity.check import depth_problem, label_problems
from ebpfmesh.policy import address_range
from ebpfmesh.policy.known import Known
from ebpfmesh.policy.nearest import nearest
from ebpfmesh.policy.source import Source

_FORMS = "name a workload, spiffe, labels, cgroup or address"


def source_problems(
    sources: Sequence[Source] | None, where: str, known: Known, *, l7: bool
) -> Iterator[EbpfMeshError]:
    """The problems of a ``from``; ``l7``: the client's address is known where the rule is looked at."""
    if sources is None:
        return
    if not sources:
        yield ConfigError(
            "it is empty, and would match nobody", where=where, remedy="leave it out for anybody"
        )
    for number, source in enumerate(sources):
        here = f"{where}[{number}]"
        if source == Source():
            yield ConfigError("it says nothing about where a request comes from", where=here, remedy=_FORMS)
        yield from _workload(source, here, known)
        yield from _cgroup(source, here, known)
        yield from _address(source, here, l7=l7)


def _workload(source: Source, where: str, known: Known) -> Iterator[ConfigError]:
    workloads = known.workloads
    if source.workload is not None and workloads.get(source.workload) is None:
        yield ConfigError(
            f"there is no workload {source.workload!r}",
            where=f"{where}.workload",
            remedy=nearest(source.workload, [one.name for one in workloads]) or "list it in [[workloads]]",
        )
    if source.spiffe is not None and (wrong := spiffe.pattern_problem(source.spiffe)):
        yield ConfigError(wrong[0], where=f"{where}.spiffe", remedy=wrong[1])
    labels = source.labels
    if labels is None:
        return
    if not labels:
        yield ConfigError(
            "it is empty, and every workload would have it", where=f"{where}.labels", remedy="name a label"
        )
    yield from label_problems(labels, f"{where}.labels")
    if labels and not workloads.chosen(labels=labels):
        said = ", ".join(f"{name} = {value!r}" for name, value in labels.items())
        yield ConfigError(
            f"no workload has {said}", where=f"{where}.labels", remedy="the labels are those of [[workloads]]"
        )


def _cgroup(source: Source, where: str, known: Known) -> Iterator[EbpfMeshError]:
    if source.cgroup is None:
        return
    where = f"{where}.cgroup"
    if what := cgroup_path.problem(source.cgroup):
        yield ConfigError(what, where=where, remedy='write it below the cgroup v2 mount: "/mesh/checkout"')
    elif cgroup_path.problem(known.cgroup) is None and not cgroup_path.within(source.cgroup, known.cgroup):
        yield ConfigError(
            f"{source.cgroup!r} is outside of the mesh's cgroup {known.cgroup!r}: none of its clients is there",
            where=where,
            remedy="name a cgroup below it",
        )
    elif too_deep := depth_problem(source.cgroup, where):
        yield too_deep


def _address(source: Source, where: str, *, l7: bool) -> Iterator[ConfigError]:
    if source.address is None:
        return
    where = f"{where}.address"
    try:
        address_range.parse(source.address)
    except ConfigError as error:
        yield ConfigError(error.what, where=where, remedy=error.remedy)
    if not l7:
        yield ConfigError(
            "a service without l7 is judged at connect(), when the client has no address yet",
            where=where,
            remedy="name the client by workload or cgroup, or give the service an l7",
        )
