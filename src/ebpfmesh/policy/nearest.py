"""The name that was probably meant, for the remedy of an error."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], most: int | None = 8) -> str:
    """ "did you mean 'x'?" for the nearest of ``known``; if none is near, "there are: …", or "" for more than ``most``."""
    from difflib import get_close_matches  # 3 ms, and only needed to say what is wrong

    names = list(known)
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(names)}" if names and (most is None or len(names) <= most) else ""
