"""Paths of cgroups as configurations write them, below the cgroup v2 mount or with it, compared as text."""

from __future__ import annotations

from functools import lru_cache
from posixpath import normpath

_MOUNTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")


@lru_cache(maxsize=4096)
def normal(path: str) -> str:
    """The path below the usual mounts: "/sys/fs/cgroup/mesh/a/" and "/mesh/a" are "/mesh/a"; the root is "/"."""
    plain = normpath("/" + path.lstrip("/"))
    for mount in _MOUNTS:
        if plain == mount or plain.startswith(f"{mount}/"):
            return plain.removeprefix(mount) or "/"
    return plain


def problem(path: str) -> str | None:
    """Why ``path`` cannot be that of a cgroup, or None."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        return f"{path!r} is no absolute path"
    return None


def depth(path: str) -> int:
    """Its levels: 1 for "/mesh", 0 for the root."""
    return len(upwards(path)) - 1


def within(path: str, ancestor: str) -> bool:
    """Whether ``path`` is ``ancestor`` or below it."""
    path, ancestor = normal(path), normal(ancestor)
    return path == ancestor or path.startswith(f"{ancestor.rstrip('/')}/")


def upwards(path: str) -> list[str]:
    """The normal path and those above it, up to the root."""
    path = normal(path)
    found = [path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return found
