"""The one form in which every parser's reading of a stream is put, so that readings can be compared."""

from __future__ import annotations

from typing import NamedTuple, Protocol

Headers = tuple[tuple[bytes, bytes], ...]


class Message(NamedTuple):
    """One message, as far as it was read. Names of headers are in lower case; pseudo-headers are not among the headers."""

    method: bytes | None = None  # of a request
    target: bytes | None = None
    status: int | None = None  # of a response
    version: int = 11  # 10, 11, 20
    headers: Headers = ()
    body: bytes = b""
    trailers: Headers = ()
    complete: bool = False
    stream: int = 0  # of HTTP/2

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, in order."""
        return [value for key, value in self.headers if key == name]


class Reading(NamedTuple):
    """What a parser made of a stream: its messages in order, the last one perhaps incomplete, and what it refused."""

    messages: tuple[Message, ...] = ()
    error: str | None = None  # why it reads no further
    switched: bool = False  # the rest is another protocol's
    closed: bool = False  # by the rules, nothing may follow the last message; what follows was not read

    @property
    def complete(self) -> tuple[Message, ...]:
        """The messages that were read to their end."""
        return tuple(message for message in self.messages if message.complete)

    def boundaries(self) -> tuple[tuple[bytes | None, bytes | None, int | None, bytes], ...]:
        """What an attacker wants two parsers to disagree about: how many messages, which, and what their bodies are."""
        return tuple((m.method, m.target, m.status, m.body) for m in self.complete)


class Witness(Protocol):
    """An independent parser: reads the bytes of one direction."""

    name: str

    def requests(self, data: bytes) -> Reading:
        """What it reads in these bytes of a client; the stream ends after them."""
        ...


def lowered(headers: list[tuple[bytes, bytes]]) -> Headers:
    """Headers in the common form."""
    return tuple((bytes(name).lower(), bytes(value)) for name, value in headers)
