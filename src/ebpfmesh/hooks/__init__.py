"""Hooks: where in the kernel a program runs, and how it is attached there.

    link = hooks.CONNECT4.attach(program, "/sys/fs/cgroup/web")
    hooks.CONNECT4.attached("/sys/fs/cgroup/web")      what is there, ours and others', in order

Each hook is one object; its documentation gives the minimum kernel, the capabilities and the fallback. All
are attached the same way: a program, a target, an `Anchor` for the place in the order, a mechanism if one is
to be forced.
"""

from ebpfmesh.hooks.anchor import Anchor
from ebpfmesh.hooks.attachment import Attachment
from ebpfmesh.hooks.catalogue import by_name, every, for_program
from ebpfmesh.hooks.cgroup_skb import CGROUP_SKB_EGRESS, CGROUP_SKB_INGRESS
from ebpfmesh.hooks.cgroup_sock import POST_BIND4, POST_BIND6, SOCK_CREATE, SOCK_RELEASE
from ebpfmesh.hooks.hook import Hook
from ebpfmesh.hooks.link import Link, LinkInfo
from ebpfmesh.hooks.sk_lookup import SK_LOOKUP
from ebpfmesh.hooks.sk_msg import SK_MSG
from ebpfmesh.hooks.sk_skb import SK_SKB_PARSER, SK_SKB_STREAM_VERDICT, SK_SKB_VERDICT
from ebpfmesh.hooks.sock_addr import (
    BIND4,
    BIND6,
    CONNECT4,
    CONNECT6,
    GETPEERNAME4,
    GETPEERNAME6,
    GETSOCKNAME4,
    GETSOCKNAME6,
    RECVMSG4,
    RECVMSG6,
    SENDMSG4,
    SENDMSG6,
)
from ebpfmesh.hooks.sockops import SOCKOPS
from ebpfmesh.hooks.sockopt import GETSOCKOPT, SETSOCKOPT
from ebpfmesh.hooks.target import Interface
from ebpfmesh.hooks.tc import TC_EGRESS, TC_INGRESS
from ebpfmesh.hooks.xdp import XDP

__all__ = [
    "BIND4",
    "BIND6",
    "CGROUP_SKB_EGRESS",
    "CGROUP_SKB_INGRESS",
    "CONNECT4",
    "CONNECT6",
    "GETPEERNAME4",
    "GETPEERNAME6",
    "GETSOCKNAME4",
    "GETSOCKNAME6",
    "GETSOCKOPT",
    "POST_BIND4",
    "POST_BIND6",
    "RECVMSG4",
    "RECVMSG6",
    "SENDMSG4",
    "SENDMSG6",
    "SETSOCKOPT",
    "SK_LOOKUP",
    "SK_MSG",
    "SK_SKB_PARSER",
    "SK_SKB_STREAM_VERDICT",
    "SK_SKB_VERDICT",
    "SOCKOPS",
    "SOCK_CREATE",
    "SOCK_RELEASE",
    "TC_EGRESS",
    "TC_INGRESS",
    "XDP",
    "Anchor",
    "Attachment",
    "Hook",
    "Interface",
    "Link",
    "LinkInfo",
    "by_name",
    "every",
    "for_program",
]
