"""Probes of the ways to attach: links, anchors, tcx, and each cgroup hook."""

from __future__ import annotations

import errno
import os

from ebpfmesh.features import program
from ebpfmesh.features.feature import Feature, State
from ebpfmesh.features.throwaway import throwaway_cgroup, throwaway_netns
from ebpfmesh.features.trial import UNKNOWN_TO_KERNEL, closing, partial, trial
from ebpfmesh.lowlevel import attach, netns
from ebpfmesh.lowlevel.libbpf import call, ffi, opts

_CONNECT4, _SK_LOOKUP, _XDP, _SK_MSG_VERDICT, _SK_SKB_VERDICT, _TCX_INGRESS = 10, 36, 37, 7, 38, 46
_LO = 1  # the index of lo in a new namespace
_XDP_GENERIC = 2  # XDP_FLAGS_SKB_MODE
_MAP_SOCKMAP = 15


def _cgroup_link() -> State:
    def attempt() -> None:
        with throwaway_cgroup() as cgroup, closing(program.load(program.SOCK_ADDR, _CONNECT4)) as loaded:
            os.close(attach.link_create(loaded, cgroup, _CONNECT4, what="a cgroup link"))

    return trial(attempt)


def _cgroup_anchors() -> State:
    def attempt() -> None:
        with throwaway_cgroup() as cgroup, closing(program.load(program.SOCK_ADDR, _CONNECT4)) as loaded:
            os.close(
                attach.link_create(
                    loaded, cgroup, _CONNECT4, attach.BEFORE, what="a cgroup link with an anchor"
                )
            )

    return trial(attempt)


def _cgroup_hook(kind: int, attach_type: int) -> State:
    def attempt() -> None:
        with throwaway_cgroup() as cgroup, closing(program.load(kind, attach_type)) as loaded:
            attach.prog_attach(loaded, cgroup, attach_type, attach.ALLOW_MULTI, what="attaching to a cgroup")
            attach.prog_detach(loaded, cgroup, attach_type, what="detaching from a cgroup")

    return trial(attempt)


def _tcx() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace, closing(program.load(program.SCHED_CLS)) as loaded:
            link = netns.inside(
                namespace,
                lambda: attach.link_create(loaded, _LO, _TCX_INGRESS, attach.BEFORE, what="a tcx link"),
            )
            os.close(link)

    return trial(attempt)


def _xdp_link() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace, closing(program.load(program.XDP, _XDP)) as loaded:
            link = netns.inside(
                namespace, lambda: attach.link_create(loaded, _LO, _XDP, _XDP_GENERIC, what="an XDP link")
            )
            os.close(link)

    return trial(attempt)


def _xdp() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace, closing(program.load(program.XDP, _XDP)) as loaded:
            netns.inside(
                namespace,
                lambda: call(
                    "bpf_xdp_attach", _LO, loaded, _XDP_GENERIC, ffi.NULL, what="XDP over rtnetlink"
                ),
            )

    return trial(attempt)


def _clsact() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace:
            hook = opts("bpf_tc_hook", ifindex=_LO, attach_point=1)
            netns.inside(namespace, lambda: call("bpf_tc_hook_create", hook, what="a clsact qdisc"))

    return trial(attempt)


def _sk_lookup() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace, closing(program.load(program.SK_LOOKUP, _SK_LOOKUP)) as loaded:
            os.close(attach.link_create(loaded, namespace, _SK_LOOKUP, what="a network namespace link"))

    return trial(attempt)


def _sockmap() -> int:
    return call(
        "bpf_map_create", _MAP_SOCKMAP, b"probe", 4, 4, 1, ffi.NULL, what="a sockmap", needs=attach.NEEDS
    )


def _sockmap_link() -> State:
    def attempt() -> None:
        with closing(_sockmap()) as sockmap, closing(program.load(program.SK_MSG, _SK_MSG_VERDICT)) as loaded:
            os.close(attach.link_create(loaded, sockmap, _SK_MSG_VERDICT, what="a sockmap link"))

    return trial(attempt)


def _sockmap_query() -> State:
    def attempt() -> None:
        with closing(_sockmap()) as sockmap:
            attach.prog_query(sockmap, _SK_MSG_VERDICT, links=False, what="asking a sockmap for its programs")

    return trial(attempt)


def _sk_skb_verdict() -> State:
    def attempt() -> None:
        with closing(_sockmap()) as sockmap, closing(program.load(program.SK_SKB, _SK_SKB_VERDICT)) as loaded:
            attach.prog_attach(loaded, sockmap, _SK_SKB_VERDICT, what="attaching a verdict program")

    return trial(attempt)


def _query_link_ids() -> State:
    def attempt() -> None:
        with throwaway_netns() as namespace:
            netns.inside(namespace, lambda: attach.prog_query(_LO, _TCX_INGRESS, what="asking for link ids"))

    return trial(attempt, UNKNOWN_TO_KERNEL - {errno.ENOENT})


_HOOKS = (
    ("cgroup_skb", program.CGROUP_SKB, 0, "0e33661de493", "4.10", "packets of a cgroup's sockets"),
    ("sock_create", program.CGROUP_SOCK, 2, "610236587600", "4.10", "a cgroup hook at socket()"),
    ("sockops", program.SOCK_OPS, 3, "40304b2a1567", "4.13", "events of a cgroup's TCP connections"),
    ("connect", program.SOCK_ADDR, 10, "d74bad4e74ee", "4.17", "a cgroup hook at connect()"),
    ("bind", program.SOCK_ADDR, 8, "4fbac77d2d09", "4.17", "a cgroup hook at bind()"),
    ("post_bind", program.CGROUP_SOCK, 12, "aac3fc320d94", "4.17", "a cgroup hook after bind()"),
    (
        "sendmsg",
        program.SOCK_ADDR,
        14,
        "1cedee13d25a",
        "4.18",
        "a cgroup hook at sendmsg() of unconnected UDP",
    ),
    ("recvmsg", program.SOCK_ADDR, 19, "983695fa6765", "5.2", "a cgroup hook at recvmsg() of UDP"),
    (
        "sockopt",
        program.CGROUP_SOCKOPT,
        21,
        "0d01da6afc54",
        "5.3",
        "cgroup hooks at getsockopt() and setsockopt()",
    ),
    ("getpeername", program.SOCK_ADDR, 29, "1b66d253610c", "5.8", "a cgroup hook at getpeername()"),
    ("getsockname", program.SOCK_ADDR, 31, "1b66d253610c", "5.8", "a cgroup hook at getsockname()"),
    ("sock_release", program.CGROUP_SOCK, 34, "f5836749c9c0", "5.9", "a cgroup hook at the end of a socket"),
)

FEATURES = (
    Feature("clsact", "TC filters at both directions of an interface", "1f211a1b929c", "4.5", _clsact),
    Feature("xdp", "XDP at an interface of any driver", "b5cdae3291f7", "4.12", _xdp),
    Feature("cgroup_link", "links at cgroup hooks", "af6eea57437a", "5.7", _cgroup_link),
    Feature(
        "cgroup_anchors", "an order among programs of a cgroup hook", "1209339844601", "6.17", _cgroup_anchors
    ),
    Feature("tcx", "links and an order at TC hooks", "e420bed02507", "6.6", _tcx),
    Feature("xdp_link", "links at XDP hooks", "aa8d3a716b59", "5.9", _xdp_link),
    Feature(
        "sk_lookup", "links at network namespaces, choosing a listener", "e9ddbb7707ff", "5.9", _sk_lookup
    ),
    Feature("sockmap_link", "links at sockmaps", "699c23f02c65", "6.10", _sockmap_link),
    Feature("sockmap_query", "asking a sockmap for its programs", "748cd5729ac7", "5.18", _sockmap_query),
    Feature("sk_skb_verdict", "a verdict program without a parser", "a7ba4558e69a", "5.13", _sk_skb_verdict),
    Feature(
        "query_link_ids",
        "asking a hook for link ids and its revision",
        "053c8e1f235d",
        "6.6",
        _query_link_ids,
    ),
    *(
        Feature(name, description, commit, minimum, partial(_cgroup_hook, kind, attach_type))
        for name, kind, attach_type, commit, minimum, description in _HOOKS
    ),
)
