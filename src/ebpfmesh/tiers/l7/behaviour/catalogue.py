"""Every behaviour probe, in the order in which they are made: what all depends on first."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpfmesh.tiers.l7.behaviour.probe import Probe


@cache
def every() -> tuple[Probe, ...]:
    """Each probe."""
    from ebpfmesh.tiers.l7.behaviour import (
        below_low_water,
        blocked_receive,
        egress_redirect,
        epoll_edge,
        epoll_level,
        fionread,
        half_close,
        large_message,
        local_reply,
        low_water,
        nonblocking,
        peek,
        queued_fin,
        sendfile,
        splice_receive,
        splice_send,
        swallow,
        urgent,
        wait_all,
        zero_window,
        zerocopy,
        zerocopy_notices,
    )

    modules = (
        egress_redirect,
        fionread,
        nonblocking,
        epoll_level,
        epoll_edge,
        half_close,
        queued_fin,
        peek,
        zero_window,
        sendfile,
        splice_send,
        zerocopy,
        large_message,
        local_reply,
        swallow,
        wait_all,
        low_water,
        below_low_water,
        zerocopy_notices,
        blocked_receive,
        splice_receive,
        urgent,
    )
    return tuple(module.PROBE for module in modules)
