"""curl, as the tests run it."""

from __future__ import annotations

from peers.servers import program


def curl(*arguments: str, seconds: int = 20) -> list[str]:
    """The command: quiet but for errors, without a proxy of the environment, at most so many seconds."""
    options = ["--silent", "--show-error", "--noproxy", "*", "--max-time", str(seconds)]
    return [program("curl", "curl"), *options, *arguments]
