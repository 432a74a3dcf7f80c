"""Which headers a rule or a limit can ask for: those whose value is kept as it was sent.

Up to 8 others beside the standard ones are read for a service (``l7_config.names``); what a parser reads for the protocol's
own sake (lengths, the connection's headers) is not kept, and Authorization only as a keyed digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError
from ebpfmesh.policy.request_match import HeaderMatch

MOST_NAMES = 8
LONGEST_NAME = 40
LONGEST_TEXT = 112

STANDARD = frozenset({"content-type", "traceparent", "upgrade", "user-agent", "grpc-encoding"})
"""Headers that are read anyway, and do not count among the 8."""
DIGESTED = "authorization"

_OF_THE_PROTOCOL = {
    "connection", "content-length", "expect", "grpc-message", "grpc-status", "grpc-timeout", "keep-alive",
    "proxy-connection", "te", "transfer-encoding",
}  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 section 5.6.2, in lower case
_TEXT = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_PREFIX = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


def registered(name: str) -> bool:
    """Whether a header takes one of the 8 places of its service."""
    return name.lower() not in STANDARD and name.lower() != DIGESTED


def name_problem(name: str, where: str) -> ConfigError | None:
    """Why no rule and no limit can ask for a header of this name, or None."""
    lower = name.lower()
    if not _TOKEN.fullmatch(lower):
        return ConfigError(f"{name[:80]!r} is no name of a header", where=where, remedy='write "x-user"')
    if len(lower) > LONGEST_NAME:
        return ConfigError(
            f"{name[:80]!r} is longer than the {LONGEST_NAME} characters that are read", where=where
        )
    if lower == "host":
        return ConfigError(
            "Host is asked for by itself", where=where, remedy='write hosts = ["shop.example"]'
        )
    if lower in _OF_THE_PROTOCOL:
        return ConfigError(f"{name!r} is the protocol's, and its value is not kept", where=where)
    return None


def header_problems(headers: Sequence[HeaderMatch], where: str) -> Iterator[EbpfMeshError]:
    """What is wrong with the headers that one rule asks for."""
    first: dict[str, int] = {}
    for number, header in enumerate(headers):
        here = f"{where}[{number}]"
        if wrong := name_problem(header.name, f"{here}.name"):
            yield wrong
            continue
        before = first.setdefault(header.name.lower(), number)
        if before != number:
            yield ConfigError(f"{header.name!r} is {where}[{before}] already", where=here, remedy="ask once")
        yield from _value_problems(header, here)


def _value_problems(header: HeaderMatch, where: str) -> Iterator[EbpfMeshError]:
    given = [field for field in ("exact", "prefix", "present") if getattr(header, field) is not None]
    if len(given) > 1:
        what = f"it asks for {' and '.join(given)}"
        yield ConfigError(what, where=where, remedy="exact, prefix or present: one of them")
        return
    if header.name.lower() == DIGESTED and given and given != ["present"]:
        yield ConfigError(
            "the value of Authorization is kept as a digest only, so that no credential is in the kernel's maps",
            where=f"{where}.{given[0]}",
            remedy="ask for present",
        )
    elif header.exact:
        yield from _text_problems(header.exact, _TEXT, f"{where}.exact")
    elif header.prefix is not None:
        yield from _text_problems(header.prefix, _PREFIX, f"{where}.prefix")


def _text_problems(text: str, form: re.Pattern[str], where: str) -> Iterator[EbpfMeshError]:
    if not form.fullmatch(text):
        yield ConfigError(
            f"{text[:80]!r} begins no value of a header"
            if form is _PREFIX
            else f"{text[:80]!r} is no value of a header",
            where=where,
            remedy="visible ASCII characters with spaces between them",
        )
    elif len(text) > LONGEST_TEXT:
        yield too_long(text, where)


def too_long(text: str, where: str) -> CapacityError:
    """The error for a text that a condition in the kernel has no room for."""
    return CapacityError(
        f"{text[:40]!r}… has {len(text)} bytes, and a condition holds {LONGEST_TEXT}",
        where=where,
        remedy="ask for a prefix of it",
    )
