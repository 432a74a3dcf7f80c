"""A process of the demo and the lines that it prints."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any


class Program:
    """Reads what a process says, as it says it. The process is started by the stage, which also ends it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._ended = False
        self._printed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                with self._printed:
                    self.lines.append(line.rstrip())
                    self._printed.notify_all()
        with self._printed:
            self._ended = True
            self._printed.notify_all()

    def wait_for(self, word: str, after: int = 0, timeout: float = 20.0) -> str:
        """The first line that begins with `word`, the first `after` lines not counted; RuntimeError if none comes."""
        found = self.until(lambda lines: any(line.startswith(word) for line in lines), after, timeout)
        for line in found:
            if line.startswith(word):
                return line
        said = "\n".join(self.lines) or "nothing"
        raise RuntimeError(f"process {self.process.pid} did not say {word!r}; it said:\n{said}")

    def until(self, enough: Callable[[list[str]], Any], after: int = 0, timeout: float = 3.0) -> list[str]:
        """The lines behind the first `after`, as soon as they are `enough`, or the time is over."""
        deadline = time.monotonic() + timeout
        with self._printed:
            while not enough(self.lines[after:]) and not self._ended:
                if not self._printed.wait(max(0.0, deadline - time.monotonic())):
                    break
            return self.lines[after:]


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process of ours to end, and insist after some seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
