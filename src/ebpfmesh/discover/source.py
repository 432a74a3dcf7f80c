"""What a source of configurations is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ebpfmesh.errors import EbpfMeshError
    from ebpfmesh.policy.model import Config


class Source(Protocol):
    """Something that knows the configuration and learns of its changes: a file, a key-value store, a control plane."""

    def watch(self) -> AsyncIterator[Config | EbpfMeshError]:
        """Yield the configuration now, then each later one, whole; an error where it cannot be had or read.

        An error never ends the stream: what ran before keeps running, and the next good configuration comes as usual.
        The stream ends only when it is closed. A configuration equal to the last one may be left out.
        """
        ...
