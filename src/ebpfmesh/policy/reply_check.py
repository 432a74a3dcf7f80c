"""What is wrong with the replies of a mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy.reply import Reply

_WITHOUT_BODY = (204, 205, 304)


def problems(replies: Sequence[Reply]) -> Iterator[EbpfMeshError]:
    """Everything that is wrong with ``replies``; types are right already."""
    if not replies:
        return
    from ebpfmesh.policy import render  # 10 ms, for meshes that have some

    names: dict[str, int] = {}
    for position, reply in enumerate(replies):
        where = f"$.replies[{position}]"
        yield from _name(reply.name, where, names, position)
        if not 200 <= reply.status <= 599:
            what = f"{reply.status} is no final status"
            yield ConfigError(what, where=f"{where}.status", remedy="200 to 599")
            continue
        if reply.body and reply.status in _WITHOUT_BODY:
            yield ConfigError(f"a {reply.status} has no body", where=f"{where}.body", remedy="leave it out")
        redirects = 300 <= reply.status < 400 and reply.status != 304
        if reply.location is not None and not redirects and reply.status != 201:
            what = f"a {reply.status} leads nowhere"
            yield ConfigError(
                what, where=f"{where}.location", remedy="leave it out, or give it a status of 3xx"
            )
        elif reply.location is None and redirects and reply.status != 300:
            what = f"a {reply.status} says where to go instead"
            yield ConfigError(what, where=f"{where}.location", remedy='write location = "https://…"')
        try:
            render.render(reply, retries=True, where=where)
        except EbpfMeshError as error:
            yield error


def _name(name: str, where: str, names: dict[str, int], position: int) -> Iterator[ConfigError]:
    if not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= 63 or name != name.strip():
        remedy = "1 to 63 bytes of printable text, no blank at either end"
        yield ConfigError(f"{name[:80]!r} is no name of a reply", where=f"{where}.name", remedy=remedy)
    if (first := names.setdefault(name, position)) != position:
        what = f"the name {name!r} is that of $.replies[{first}] already"
        yield ConfigError(what, where=f"{where}.name", remedy="names are unique in a mesh")
