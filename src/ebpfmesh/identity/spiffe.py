"""SPIFFE ids: which texts are one, and which ids a rule's selector means.

Source: the SPIFFE-ID specification, sections 2.1 (trust domain), 2.2 (path) and 2.3 (length); X509-SVID, section 2: the id
of a workload has a path, one without is the trust domain's own.
"""

from __future__ import annotations

import re

SCHEME = "spiffe://"
LONGEST = 2048
LONGEST_DOMAIN = 255

_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_REMEDY = 'write "spiffe://example.org/ns/shop/sa/checkout"'


def problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a workload's id, and the remedy; None if nothing is."""
    return _problem(text, text)


def pattern_problem(text: str) -> tuple[str, str] | None:
    """The same of a selector: an id, or the beginning of one, up to a "/", with "*" behind it."""
    if "*" not in text:
        return problem(text)
    begins = text[:-1]
    if "*" in begins or not text.endswith("/*"):
        what = f'{text!r}: "*" stands for everything behind a "/"'
        return what, 'write it at the end: "spiffe://example.org/ns/shop/*"'
    if begins == SCHEME:
        return f"{text!r} means every trust domain", "name one: spiffe://example.org/*"
    return _problem(begins + "x", text)  # whatever stands there


def matches(selector: str, identifier: str) -> bool:
    """Whether a selector means an id; both are valid. "spiffe://a/x/*" means what is below x, and not x itself."""
    if selector.endswith("*"):
        return identifier.startswith(selector[:-1])
    return identifier == selector


def _problem(identifier: str, written: str) -> tuple[str, str] | None:
    if not identifier.startswith(SCHEME):
        return f"{written!r} is no SPIFFE id: it does not begin with {SCHEME!r}", _REMEDY
    domain, slash, path = identifier.removeprefix(SCHEME).partition("/")
    found = None
    if len(identifier.encode(errors="replace")) > LONGEST:
        found = f"is longer than {LONGEST} bytes"
    elif len(domain) > LONGEST_DOMAIN:
        found = f"has a trust domain of more than {LONGEST_DOMAIN} bytes"
    elif not _DOMAIN.fullmatch(domain):
        found = f'has the trust domain {domain!r}, and one consists of a-z, 0-9, ".", "-" and "_"'
    elif not slash:
        found = "is the trust domain's own id; a workload has a path behind it"
    else:
        found = _path_problem(path)
    return None if found is None else (f"{written!r} {found}", _REMEDY)


def _path_problem(path: str) -> str | None:
    for segment in path.split("/"):
        if not segment:
            return 'has an empty segment in its path, or "/" at its end'
        if segment in (".", ".."):
            return f"has the segment {segment!r}, which is relative"
        if not _SEGMENT.fullmatch(segment):
            return f'has the segment {segment!r}, and one consists of letters, digits, ".", "-" and "_"'
    return None
