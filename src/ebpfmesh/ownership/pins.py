"""The pins of an agent, ``<bpffs>/ebpfmesh/<name>/``: maps/, links/, draining/ (what a stop had to leave for a while) and
the layout map that says which are ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from ebpfmesh.errors import KernelError, LayoutError, OwnershipError
from ebpfmesh.ownership import pinned
from ebpfmesh.ownership.layout import LayoutMap, Row, _remedy
from ebpfmesh.ownership.name import check_name
from ebpfmesh.ownership.pinned import Pinned

_FOLDERS = ("links", "maps")  # in the order of removal: links first
DRAINING = "draining"
"""What outlives its agent until the last connection that needs it has closed: no part of what is taken over."""


class HasDescriptor(Protocol):
    """A map, link or program: anything with ``fd``."""

    @property
    def fd(self) -> int: ...


class Survey(NamedTuple):
    """What is in a pin directory.

    ``ours`` by key (``maps/NAME``), ``foreign`` descriptions of what we did not make, by path, and
    ``missing``: the keys of rows whose pin is not there.
    """

    ours: dict[str, Pinned]
    foreign: dict[Path, str]
    missing: tuple[str, ...]


class PinDirectory:
    """The pins of agent ``name`` in ``bpffs``. Made by `create`; looking needs no creation."""

    def __init__(self, bpffs: str | Path, name: str) -> None:
        self.name = check_name(name)
        self.bpffs = Path(bpffs)
        self.path = self.bpffs / "ebpfmesh" / name
        self.layout_path = self.path / "layout"
        self._layouts: LayoutMap | None = None

    # --- paths ----------------------------------------------------------------------------------------------
    def map_path(self, name: str) -> Path:
        """Where the map ``name`` is pinned."""
        return self.path / "maps" / check_name(name, where="map")

    def link_path(self, name: str) -> Path:
        """Where the link ``name`` is pinned."""
        return self.path / "links" / check_name(name, where="link")

    # --- looking --------------------------------------------------------------------------------------------
    def exists(self) -> bool:
        """Whether there is such a directory."""
        return self.path.is_dir()

    def maps(self) -> dict[str, Pinned]:
        """The pinned maps that are ours, by name."""
        return self._part("maps/")

    def links(self) -> dict[str, Pinned]:
        """The pinned links that are ours, by name."""
        return self._part("links/")

    def _part(self, folder: str) -> dict[str, Pinned]:
        ours = self.survey().ours
        return {key.removeprefix(folder): pin for key, pin in ours.items() if key.startswith(folder)}

    def draining(self) -> dict[str, Pinned]:
        """The pins of ours that are kept for connections of an earlier run, by name."""
        return self._part(f"{DRAINING}/")

    def survey(self) -> Survey:
        """Compare what is pinned with the rows of the layout map. Changes nothing.

        Errors: CapabilityError, KernelError; OwnershipError if the layout map itself is something else.
        """
        if not self.path.exists():
            return Survey({}, {}, ())
        if not self.path.is_dir():
            return Survey({}, {self.path: "a pin where our directory belongs"}, ())
        rows = self._open_layouts().rows() if self.layout_path.exists() else {}
        ours: dict[str, Pinned] = {}
        foreign: dict[Path, str] = {}
        for path in sorted(self.path.iterdir()):
            if path.name in (*_FOLDERS, DRAINING) and path.is_dir():
                self._survey_folder(path, rows, ours, foreign)
            elif path != self.layout_path:
                foreign[path] = _describe(path)
        return Survey(ours, foreign, tuple(key for key in rows if key not in ours))

    def _survey_folder(
        self, folder: Path, rows: Mapping[str, Row], ours: dict[str, Pinned], foreign: dict[Path, str]
    ) -> None:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                foreign[path] = "a directory"
                continue
            found = pinned.identify(path)
            key = f"{folder.name}/{path.name}"
            row = rows.get(key)
            if row is not None and (row.kind, row.id) == (found.kind, found.id):
                ours[key] = found
            else:
                expected = (
                    f", where we pinned the {row.kind} with id {row.id}"
                    if row
                    else ", which has no layout entry"
                )
                foreign[path] = f"{found}{expected}"

    def check_foreign(self) -> Survey:
        """`survey`, with OwnershipError naming the first thing that is not ours."""
        found = self.survey()
        for path, description in found.foreign.items():
            raise OwnershipError(
                f"not ours: {description}",
                where=str(path),
                remedy="remove or move it, or choose another name; it was left alone",
            )
        return found

    # --- layouts --------------------------------------------------------------------------------------------
    def check_layouts(self, hashes: Mapping[str, str]) -> None:
        """LayoutError for the first pinned map whose layout is not the one that this version writes.

        ``hashes`` maps the name of each map to the SHA-256 of its layout, in hexadecimal. Maps that are not
        pinned yet are no error.
        """
        if not self.layout_path.exists():
            return
        rows = self._open_layouts().rows()
        for name, wanted in hashes.items():
            row = rows.get(f"maps/{name}")
            if row is not None and row.hash != wanted:
                raise LayoutError(
                    f"its layout {row.hash[:12] or 'unknown'} is not this version's, {wanted[:12]}",
                    where=f"map {self.map_path(name)}",
                    remedy=_remedy(self.layout_path),
                )

    # --- making ---------------------------------------------------------------------------------------------
    def create(self) -> None:
        """Make the directories (mode 0700) and the layout map, as far as they are absent. Capabilities:
        CAP_BPF.
        """
        for directory in (self.path.parent, self.path, *(self.path / folder for folder in _FOLDERS)):
            directory.mkdir(mode=0o700, parents=directory == self.path, exist_ok=True)
        if self._layouts is None:
            self._open_layouts()

    def pin_map(self, name: str, map: HasDescriptor, layout_hash: str) -> None:
        """Pin ``map`` under ``name`` and note it as ours, with the SHA-256 of its layout in hexadecimal.

        A map of ours that is pinned there is replaced. Errors: OwnershipError if what is there is not ours.
        """
        self._pin(f"maps/{name}", self.map_path(name), map.fd, layout_hash)

    def pin_link(self, name: str, link: HasDescriptor) -> None:
        """Pin ``link`` under ``name`` and note it as ours; one of ours that is pinned there is replaced."""
        self._pin(f"links/{name}", self.link_path(name), link.fd, "")

    def _pin(self, key: str, path: Path, descriptor: int, layout_hash: str) -> None:
        layouts = self._open_layouts()
        new = pinned.identify_descriptor(descriptor, path)
        if path.exists():
            old, row = pinned.identify(path), layouts.read(key)
            if row is None or (row.kind, row.id) != (old.kind, old.id):
                raise OwnershipError(
                    f"not ours: {old}", where=str(path), remedy="remove it, or choose another name"
                )
            if (old.kind, old.id) == (new.kind, new.id):
                return
            path.unlink()
        layouts.write(key, Row(layout_hash, new.kind, new.id))
        pinned.pin(descriptor, path)

    def _open_layouts(self) -> LayoutMap:
        if self._layouts is None:
            exists = self.layout_path.exists()
            self._layouts = LayoutMap.open(self.layout_path) if exists else LayoutMap.create(self.layout_path)
        return self._layouts

    def check_version(self) -> None:
        """LayoutError if an agent of another layout version made the pins."""
        if self.layout_path.exists():
            self._open_layouts().check_version()

    def set_aside(self, keys: Mapping[str, str]) -> None:
        """Move pins of ours, by key, below draining/ under the given names; one that is not there is passed over.

        A link stays attached, a map stays what it is: bpffs renames in place.
        """
        layouts, folder = self._open_layouts(), self.path / DRAINING
        folder.mkdir(mode=0o700, exist_ok=True)
        for key, name in keys.items():
            row, path = layouts.read(key), self.path / key
            if row is None or not path.exists():
                continue
            new = f"{DRAINING}/{check_name(name, where='draining')}"
            layouts.write(new, row)
            path.rename(self.path / new)
            layouts.delete(key)

    # --- removing -------------------------------------------------------------------------------------------
    def remove_pin(self, key: str) -> None:
        """Remove the pin ``key`` (``links/NAME``: detached at once; ``maps/NAME``) if it is ours, else
        OwnershipError.
        """
        path, layouts = self.path / key, self._open_layouts()
        row = layouts.read(key)
        if path.exists():
            found = pinned.identify(path)
            if row is None or (row.kind, row.id) != (found.kind, found.id):
                raise OwnershipError(f"not ours: {found}", where=str(path), remedy="it was left alone")
            if found.kind == "link":
                pinned.detach(path)
            else:
                path.unlink()
        layouts.delete(key)

    def remove(self) -> Survey:
        """Remove every pin of ours, links first, then maps, the layout map and the directories; return what
        was there.

        What is not ours stays, what drains too, and so do the directories that hold it.
        """
        found = self.survey()
        drains = any(key.startswith(f"{DRAINING}/") for key in found.ours)
        for folder in _FOLDERS:
            for key in found.ours:
                if key.startswith(folder):
                    self.remove_pin(key)
        self.close()
        if drains:
            return found
        with suppress(FileNotFoundError, NotADirectoryError, OwnershipError, KernelError):
            LayoutMap.open(self.layout_path).close()  # only a layout map is removed, whatever else is there
            self.layout_path.unlink()
        for directory in (*(self.path / folder for folder in (*_FOLDERS, DRAINING)), self.path):
            with suppress(OSError):  # absent, or it holds what is not ours
                directory.rmdir()
        return found

    def close(self) -> None:
        """Close the descriptor of the layout map; the pins stay."""
        if self._layouts is not None:
            self._layouts.close()
            self._layouts = None


def _describe(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return str(pinned.identify(path)) if os.access(path, os.R_OK) else "an object"
