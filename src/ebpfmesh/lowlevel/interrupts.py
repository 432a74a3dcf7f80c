"""SIGINT and SIGTERM, held back while a change of the kernel's state must not stop halfway."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """A handler of Python, such as the one that raises KeyboardInterrupt, runs after this block; nests.

    Only the main thread runs handlers, so in other threads this does nothing. What the kernel does by itself, as ending the
    process at SIGTERM without a handler, it still does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        arrived.append(number)

    before = {}
    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # SIG_DFL and SIG_IGN are not
                before[number] = handler
                signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in arrived[:1]:  # one that raises ends it; a further Ctrl-C says the same
            before[signal.Signals(one)](one, None)
