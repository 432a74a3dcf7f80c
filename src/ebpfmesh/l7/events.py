"""What a connection tells: frozen values with a direction and a position. Protocols add their own to these.

Where bytes were split makes no difference to events, but for `Data`, which comes in the pieces that were fed: joined, they
are the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from ebpfmesh.l7.contract import Direction


def _tag(name: str) -> str:
    """``EndOfTable`` as ``end-of-table``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=_tag, omit_defaults=True):
    """Base of all events.

    ``position`` counts bytes of the direction. It is that of the first byte behind the event's own bytes: where the payload
    of a message begins, where a message without payload ended. It does not depend on how the bytes were split.

    An event can be compared, and hashed unless a field is a mapping, as ``registered`` of HTTP's heads is.
    """

    direction: Direction
    position: int


class Data(Event, frozen=True, tag=_tag):
    """Payload of a message. ``position`` is that of its first byte; ``stream`` that of the message."""

    stream: int
    data: bytes


class End(Event, frozen=True, tag=_tag):
    """A message of ``stream`` has ended; what follows in the direction is the next one's."""

    stream: int


class Tunnel(Event, frozen=True, tag=_tag):
    """From here on the bytes of the direction are another protocol's; they come as `Data`."""

    stream: int = 0


class Dropped(Event, frozen=True, tag=_tag):
    """The bytes of a message, up to ``position``, must not go on."""


class Replied(Event, frozen=True, tag=_tag):
    """The bytes of a message, up to ``position``, must not go on; ``data`` is the answer to their sender."""

    data: bytes


class Undecodable(Event, frozen=True, tag=_tag):
    """This direction cannot be followed any more; nothing is told of it from here on, and nothing is guessed.

    ``code`` is the protocol's number of why, ``reason`` its name. A policy decides whether the connection may go on.
    """

    code: int
    reason: str


def builtins(event: Event) -> dict[str, Any]:
    """The event as plain values, as vectors and JSON have it: what equals its default is left out, bytes are kept."""
    document: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(bytes,))
    for name, default in _defaults(type(event)).items():
        if document.get(name) == default:  # msgspec leaves out what is the default, not what equals it
            document.pop(name, None)
    document["direction"] = event.direction.name.lower()
    return document


@lru_cache(maxsize=256)
def _defaults(cls: type[Event]) -> dict[str, Any]:
    return {
        field.name: msgspec.to_builtins(field.default, builtin_types=(bytes,))
        for field in msgspec.structs.fields(cls)
        if field.default is not msgspec.NODEFAULT
    }


def joined(events: list[Event]) -> list[Event]:
    """The events with neighbouring `Data` of one message made one: the same wherever the bytes were split."""
    found: list[Event] = []
    for event in events:
        before = found[-1] if found else None
        if (
            isinstance(event, Data)
            and isinstance(before, Data)
            and (before.direction, before.stream) == (event.direction, event.stream)
            and before.position + len(before.data) == event.position
        ):
            found[-1] = msgspec.structs.replace(before, data=before.data + event.data)
        else:
            found.append(event)
    return found
