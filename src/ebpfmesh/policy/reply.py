"""Replies: what a client is told in place of the service's answer."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A local reply, under a name that rules, limits and faults use."""

    name: str
    """Unique in the mesh."""
    status: int
    """200 to 599."""
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    """Sent if there is a body."""
    headers: dict[str, str] = {}
    """Further headers; Content-Length, Connection and Retry-After are the mesh's."""
    location: str | None = None
    """Where a redirect (status 3xx) leads."""


def standard(status: int) -> Reply:
    """The reply to ``status`` where none is named: its reason as the body. Its name is the number."""
    phrase = _PHRASES.get(status)
    return Reply(str(status), status, body=f"{phrase}\n" if phrase else "")
