"""A source of your own: the backends of a service are the files of a directory, one for each, named ADDRESS:PORT.

`sudo python examples/own_source.py CGROUP DIRECTORY`; add and remove files while it runs, end it with Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from ebpfmesh import Config, EbpfMeshError, Mesh, Service
from ebpfmesh.errors import ConfigError


class DirectorySource:
    """A `Source`: yields the whole configuration now and after each change; an error is yielded too, never raised."""

    def __init__(self, cgroup: str, directory: Path, interval: float = 0.2) -> None:
        self.cgroup, self.directory, self.interval = cgroup, directory, interval

    def read(self) -> Config | EbpfMeshError:
        try:
            backends = sorted(path.name for path in self.directory.iterdir())
        except OSError as error:
            return ConfigError(f"it cannot be listed: {error.strerror}", where=str(self.directory))
        web = Service("web", addresses=["10.96.0.10:80"], backends=backends)
        return Config("from-directory", cgroup=self.cgroup, services=[web])

    async def watch(self) -> AsyncIterator[Config | EbpfMeshError]:
        last = None
        while True:
            found = self.read()
            if str(found) != str(last):
                yield found
            last = found
            await asyncio.sleep(self.interval)


async def follow(mesh: Mesh, source: DirectorySource) -> None:
    async for found in source.watch():
        try:
            if isinstance(found, EbpfMeshError):
                raise found
            plan = await asyncio.to_thread(mesh.apply, found)
            print(f"applied: {plan.summary}", flush=True)
        except EbpfMeshError as error:
            print(f"refused, what ran before keeps running: {error}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: sudo python examples/own_source.py CGROUP DIRECTORY (of files ADDRESS:PORT)")
    source = DirectorySource(sys.argv[1], Path(sys.argv[2]))
    with Mesh(Config("from-directory", cgroup=source.cgroup)) as mesh, suppress(KeyboardInterrupt):
        asyncio.run(follow(mesh, source))
