"""Which parser cores a C text defines: the lines that begin with ``L7_PARSER`` or ``L7_PARSER_WITHOUT_TABLES``."""

from __future__ import annotations

import re

NO_TABLES = "struct l7_no_tables"
"""The type of the tables of a core that has none."""

_PARSER = re.compile(
    r"^[ \t]*(?:L7_PARSER_WITHOUT_TABLES\s*\(\s*(\w+)|L7_PARSER\s*\(\s*(\w+)\s*,\s*([\w \t*]+?))\s*\)",
    re.MULTILINE,
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def parsers_of(text: str) -> dict[str, str]:
    """The cores of ``text`` by name, each with the type of its tables: `NO_TABLES` if it has none."""
    plain = _COMMENT.sub(" ", text)
    return {
        without or name: " ".join(tables.split()) or NO_TABLES
        for without, name, tables in _PARSER.findall(plain)
    }
