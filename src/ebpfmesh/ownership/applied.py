"""The configuration that an agent applied last, ``<run root>/<name>/applied.json``: what `ebpfmesh plan` compares with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpfmesh.errors import HostError
from ebpfmesh.ownership import atomic

if TYPE_CHECKING:
    from ebpfmesh.ownership.run_directory import RunDirectory
    from ebpfmesh.policy.model import Config


def write(directory: RunDirectory, config: Config) -> None:
    """Note that ``config`` is applied, atomically. The caller holds the lock of ``directory``."""
    import msgspec

    atomic.write(directory.applied_file, msgspec.json.encode(config))


def read(directory: RunDirectory) -> Config | None:
    """What was applied last; None if nothing is noted, or by a version with another model.

    Errors: HostError if it may not be read.
    """
    import msgspec

    from ebpfmesh.policy.model import Config

    try:
        return msgspec.json.decode(directory.applied_file.read_bytes(), type=Config)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except PermissionError as error:
        where = str(directory.applied_file)
        raise HostError("what is applied may not be read", where=where, remedy="run as root") from error
