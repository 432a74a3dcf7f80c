"""A configuration file, followed by looking at it: works on every file system, and through every way to replace a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from ebpfmesh.errors import ConfigError, EbpfMeshError

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config

_Signature = tuple[int, ...]
_ABSENT: _Signature = ()


class FileSource:
    """A TOML file at ``path``, looked at every ``interval`` seconds.

    A file is taken to have changed when its device, inode, times of change in nanoseconds or size differ, links
    followed: so a rename over it (editors), a swapped symbolic link (Kubernetes), a truncation and a touch are all
    seen. It is read once it looks the same twice in a row, which keeps most half-written files away; one that is
    read half anyway is an error now and a configuration as soon as the rest is there.
    """

    def __init__(self, path: str | Path, *, interval: float = 0.2) -> None:
        self.path = Path(path)
        self.interval = interval

    async def watch(self) -> AsyncIterator[Config | EbpfMeshError]:
        """Yield what the file holds now, then after each change the new configuration, or the error in it.

        The errors (ConfigError: removed, unreadable, wrong) are yielded, not raised; content that equals the last one read,
        byte by byte, is not yielded again.
        """
        seen, last = self._signature(), self._content()
        yield await asyncio.to_thread(self._parsed, last)
        again = True  # a write right after the first look may have the same time of change: look at the content twice
        while True:
            await asyncio.sleep(self.interval)
            signature = self._signature()
            if signature == seen and not again:
                continue
            again = False
            seen = await self._settled(signature)
            content = self._content()
            if content != last:
                last = content
                yield await asyncio.to_thread(self._parsed, content)

    async def _settled(self, signature: _Signature) -> _Signature:
        """The signature once it is the same twice in a row, or after ten intervals: somebody may never stop writing."""
        for _ in range(10):
            await asyncio.sleep(self.interval)
            now = self._signature()
            if now == signature:
                break
            signature = now
        return signature

    def _signature(self) -> _Signature:
        try:
            found = self.path.stat()
        except OSError:
            return _ABSENT
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _content(self) -> bytes:
        """What the file holds; for one that cannot be read a marker of the reason, which is no TOML."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            return b"\0%d" % (error.errno or 0)

    def _parsed(self, content: bytes) -> Config | EbpfMeshError:
        if content[:1] == b"\0" and content[1:].isdigit():
            reason = os.strerror(int(content[1:]))
            return ConfigError(f"the configuration cannot be read: {reason}", where=str(self.path))
        from ebpfmesh.policy import toml

        try:
            return toml.loads(content.decode(), name=str(self.path))
        except UnicodeDecodeError as error:
            return ConfigError(f"it is not UTF-8 at byte {error.start}", where=str(self.path))
        except EbpfMeshError as error:
            return error
