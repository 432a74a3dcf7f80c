"""The hooks of addresses: connect, bind, sendmsg, recvmsg, getpeername and getsockname, for IPv4 and IPv6.

A program sees and changes the address that a process gave or gets. At connect, bind and sendmsg it returns 1
to let the call go on and 0 to refuse it with EPERM (or the errno of bpf_set_retval(), 5.18); at the others it
must return 1.
"""

from __future__ import annotations

from ebpfmesh.hooks.cgroup import FALLBACK, CgroupHook
from ebpfmesh.hooks.hook import About
from ebpfmesh.spec import AttachType, ProgramType

_CALLS = {
    "connect": ("connect() of TCP and UDP sockets", "4.17", "d74bad4e74ee"),
    "bind": ("bind()", "4.17", "4fbac77d2d09"),
    "sendmsg": ("sendmsg() and sendto() of unconnected UDP sockets", "4.18", "1cedee13d25a"),
    "recvmsg": ("recvmsg() and recvfrom() of UDP sockets", "5.2", "983695fa6765"),
    "getpeername": ("getpeername()", "5.8", "1b66d253610c"),
    "getsockname": ("getsockname()", "5.8", "1b66d253610c"),
}


def _hook(call: str, family: int, attach_type: AttachType) -> CgroupHook:
    what, minimum, commit = _CALLS[call]
    does = f"At {what} for IPv{family}: sees and rewrites the address."
    about = About(does, f"cgroup/{call}{family}", minimum, commit, FALLBACK, call)
    return CgroupHook(f"{call}{family}", attach_type, ProgramType.CGROUP_SOCK_ADDR, about)


CONNECT4 = _hook("connect", 4, AttachType.CGROUP_INET4_CONNECT)
CONNECT6 = _hook("connect", 6, AttachType.CGROUP_INET6_CONNECT)
BIND4 = _hook("bind", 4, AttachType.CGROUP_INET4_BIND)
BIND6 = _hook("bind", 6, AttachType.CGROUP_INET6_BIND)
SENDMSG4 = _hook("sendmsg", 4, AttachType.CGROUP_UDP4_SENDMSG)
SENDMSG6 = _hook("sendmsg", 6, AttachType.CGROUP_UDP6_SENDMSG)
RECVMSG4 = _hook("recvmsg", 4, AttachType.CGROUP_UDP4_RECVMSG)
RECVMSG6 = _hook("recvmsg", 6, AttachType.CGROUP_UDP6_RECVMSG)
GETPEERNAME4 = _hook("getpeername", 4, AttachType.CGROUP_INET4_GETPEERNAME)
GETPEERNAME6 = _hook("getpeername", 6, AttachType.CGROUP_INET6_GETPEERNAME)
GETSOCKNAME4 = _hook("getsockname", 4, AttachType.CGROUP_INET4_GETSOCKNAME)
GETSOCKNAME6 = _hook("getsockname", 6, AttachType.CGROUP_INET6_GETSOCKNAME)
