"""The hooks of a socket's life: its creation, after bind(), and its release. A program returns 1 to allow, 0 to refuse."""

from __future__ import annotations

from ebpfmesh.hooks.cgroup import FALLBACK, CgroupHook
from ebpfmesh.hooks.hook import About
from ebpfmesh.spec import AttachType, ProgramType


def _hook(name: str, attach_type: AttachType, does: str, minimum: str, commit: str) -> CgroupHook:
    about = About(does, f"cgroup/{name}", minimum, commit, FALLBACK, name.rstrip("46"))
    return CgroupHook(name, attach_type, ProgramType.CGROUP_SOCK, about)


SOCK_CREATE = _hook(
    "sock_create",
    AttachType.CGROUP_INET_SOCK_CREATE,
    "At socket() of an IPv4 or IPv6 socket: sees its family, type and protocol, may refuse it.",
    "4.10",
    "610236587600",
)
SOCK_RELEASE = _hook(
    "sock_release",
    AttachType.CGROUP_INET_SOCK_RELEASE,
    "At the last close() of an IPv4 or IPv6 socket; it cannot refuse.",
    "5.9",
    "f5836749c9c0",
)
POST_BIND4 = _hook(
    "post_bind4",
    AttachType.CGROUP_INET4_POST_BIND,
    "After bind() to an IPv4 address chose the port: may take the bind back.",
    "4.17",
    "aac3fc320d94",
)
POST_BIND6 = _hook(
    "post_bind6",
    AttachType.CGROUP_INET6_POST_BIND,
    "After bind() to an IPv6 address chose the port: may take the bind back.",
    "4.17",
    "aac3fc320d94",
)
