"""Reading the configuration file that a command was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config


def read(file: Path) -> Config:
    """The configuration in ``file``. ConfigError, whose place begins with the file."""
    from ebpfmesh.policy import toml

    try:
        return toml.read(file)
    except ConfigError as error:
        if error.where.startswith(str(file)):
            raise
        where = f"{file}: {error.where}" if error.where else str(file)
        raise ConfigError(error.what, where=where, remedy=error.remedy) from error


def checked(file: Path) -> Config:
    """The configuration in ``file``, with nothing wrong in it.

    ConfigError or CapacityError as for `read`: the first problem, and where to see the others.
    """
    from ebpfmesh.policy.check import problems

    config = read(file)
    found = problems(config)
    if found:
        raise _first(found, file) from found[0]
    return config


def _first(found: list[EbpfMeshError], file: Path) -> EbpfMeshError:
    error, count = found[0], len(found)
    kind = CapacityError if isinstance(error, CapacityError) else ConfigError
    others = f"one of {count} problems, which `ebpfmesh check {file}` lists" if count > 1 else ""
    remedy = "; ".join(filter(None, (error.remedy, others)))
    return kind(error.what, where=": ".join(filter(None, (str(file), error.where))), remedy=remedy)
