"""Reading the configuration file that a command was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ebpfmesh.errors import ConfigError

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
