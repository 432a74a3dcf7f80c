"""Where in a hook's order a program goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ebpfmesh.hooks.attachment import Attachment
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.objects.program import Program

    Neighbour: TypeAlias = Program | int | Link | Attachment


class Place(Enum):
    """The kinds of `Anchor`."""

    DEFAULT = "default"
    FIRST = "first"
    LAST = "last"
    BEFORE = "before"
    AFTER = "after"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place among the programs of a hook; made by the methods below.

    ``Anchor.default()`` is the end of the order, on every kernel. The others need an order that the kernel
    keeps: TC with tcx from 6.6, cgroup hooks from 6.17; clsact has priorities on every kernel. A neighbour is
    a `Program`, its id, a `Link`, or an `Attachment` out of ``hook.attached(target)``.
    """

    place: Place
    neighbour: Neighbour | None = None

    @classmethod
    def default(cls) -> Anchor:
        """Behind everything that is attached."""
        return DEFAULT

    @classmethod
    def first(cls) -> Anchor:
        """Before everything that is attached now."""
        return cls(Place.FIRST)

    @classmethod
    def last(cls) -> Anchor:
        """Behind everything that is attached now; said explicitly."""
        return cls(Place.LAST)

    @classmethod
    def before(cls, neighbour: Neighbour) -> Anchor:
        """Directly before ``neighbour``."""
        return cls(Place.BEFORE, neighbour)

    @classmethod
    def after(cls, neighbour: Neighbour) -> Anchor:
        """Directly after ``neighbour``."""
        return cls(Place.AFTER, neighbour)

    @classmethod
    def replace(cls, neighbour: Neighbour) -> Anchor:
        """In the place of ``neighbour``, atomically. What is attached through a link is replaced by `Link.update`."""
        return cls(Place.REPLACE, neighbour)

    def __str__(self) -> str:
        return f"{self.place.value} {self.neighbour}" if self.neighbour is not None else self.place.value


DEFAULT = Anchor(Place.DEFAULT)
