"""Logs of the command line: the only place that configures structlog, which the library never does."""

from __future__ import annotations

import logging
import sys


def configure(*, debug: bool, as_json: bool) -> None:
    """Send logs to standard error: a readable line each, or with ``as_json`` one JSON object each."""
    import structlog

    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
