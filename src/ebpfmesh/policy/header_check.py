"""What is wrong with the headers that a rule or a limit asks for.

Which headers a protocol's parser keeps, and how many others there is room for, `ebpfmesh.policy.compile` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError
from ebpfmesh.policy.request_match import HeaderMatch

LONGEST_NAME = 40
LONGEST_TEXT = 112

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 section 5.6.2, in lower case
_TEXT = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_PREFIX = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


def name_problem(name: str, where: str) -> ConfigError | None:
    """Why no rule and no limit can ask for a header of this name, or None."""
    lower = name.lower()
    if not _TOKEN.fullmatch(lower):
        return ConfigError(f"{name[:80]!r} is no name of a header", where=where, remedy='write "x-user"')
    if len(lower) > LONGEST_NAME:
        return ConfigError(
            f"{name[:80]!r} is longer than the {LONGEST_NAME} characters that are read", where=where
        )
    return None


def header_problems(headers: Sequence[HeaderMatch], where: str) -> Iterator[EbpfMeshError]:
    """What is wrong with the headers that one rule asks for."""
    first: dict[str, int] = {}
    for number, header in enumerate(headers):
        here = f"{where}[{number}]"
        if wrong := name_problem(header.name, f"{here}.name"):
            yield wrong
            continue
        if header.name.lower() == "host":
            remedy = 'write hosts = ["shop.example"]'
            yield ConfigError("Host is asked for by itself", where=f"{here}.name", remedy=remedy)
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
    if header.exact:
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
