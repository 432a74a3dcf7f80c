"""What a program's section name says: program type and attach type, as libbpf reads it.

A trailing ``+`` in the table means "the name alone, or followed by ``/`` and anything" (``iter`` and ``iter/tcp``);
every other name is matched whole, as libbpf >= 1.0 does (section_defs in tools/lib/bpf/libbpf.c). A leading ``?`` in
an object switches autoload off and is no part of the name.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ebpfmesh.spec.enums import AttachType as A
from ebpfmesh.spec.enums import ProgramType as P

__all__ = ["Section", "all_sections", "read"]


class Section(NamedTuple):
    """The meaning of a section name.

    ``name`` without ``?``; ``attach_type`` None where the program type has none; ``autoload`` False with ``?``;
    ``libbpf``: the first libbpf that knows the name (an older one refuses to load the program unless its type is set).
    """

    name: str
    type: P | None
    attach_type: A | None = None
    sleepable: bool = False
    autoload: bool = True
    libbpf: tuple[int, int] = (1, 0)
    fragments: bool = False


def _cgroup() -> dict[str, Section]:
    table = {
        "cgroup_skb/ingress": (P.CGROUP_SKB, A.CGROUP_INET_INGRESS),
        "cgroup_skb/egress": (P.CGROUP_SKB, A.CGROUP_INET_EGRESS),
        "cgroup/skb": (P.CGROUP_SKB, None),
        "cgroup/sock_create": (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE),
        "cgroup/sock_release": (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_RELEASE),
        "cgroup/sock": (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE),
        "cgroup/post_bind4": (P.CGROUP_SOCK, A.CGROUP_INET4_POST_BIND),
        "cgroup/post_bind6": (P.CGROUP_SOCK, A.CGROUP_INET6_POST_BIND),
        "cgroup/sysctl": (P.CGROUP_SYSCTL, A.CGROUP_SYSCTL),
        "cgroup/getsockopt": (P.CGROUP_SOCKOPT, A.CGROUP_GETSOCKOPT),
        "cgroup/setsockopt": (P.CGROUP_SOCKOPT, A.CGROUP_SETSOCKOPT),
        "cgroup/dev": (P.CGROUP_DEVICE, A.CGROUP_DEVICE),
    }
    sections = {name: Section(name, *meaning) for name, meaning in table.items()}
    for call, kind in (
        ("bind", "INET{}_BIND"),
        ("connect", "INET{}_CONNECT"),
        ("sendmsg", "UDP{}_SENDMSG"),
        ("recvmsg", "UDP{}_RECVMSG"),
        ("getpeername", "INET{}_GETPEERNAME"),
        ("getsockname", "INET{}_GETSOCKNAME"),
    ):
        for family in "46":
            name = f"cgroup/{call}{family}"
            sections[name] = Section(name, P.CGROUP_SOCK_ADDR, A[f"CGROUP_{kind.format(family)}"])
    for call in ("connect", "sendmsg", "recvmsg", "getpeername", "getsockname"):
        name = f"cgroup/{call}_unix"
        sections[name] = Section(name, P.CGROUP_SOCK_ADDR, A[f"CGROUP_UNIX_{call.upper()}"], libbpf=(1, 3))
    return sections


def _network() -> list[Section]:
    return [
        Section("socket", P.SOCKET_FILTER),
        Section("sk_reuseport/migrate", P.SK_REUSEPORT, A.SK_REUSEPORT_SELECT_OR_MIGRATE),
        Section("sk_reuseport", P.SK_REUSEPORT, A.SK_REUSEPORT_SELECT),
        Section("tc", P.SCHED_CLS),
        Section("classifier", P.SCHED_CLS),
        Section("action", P.SCHED_ACT),
        Section("tc/ingress", P.SCHED_CLS, A.TCX_INGRESS, libbpf=(1, 3)),
        Section("tc/egress", P.SCHED_CLS, A.TCX_EGRESS, libbpf=(1, 3)),
        Section("tcx/ingress", P.SCHED_CLS, A.TCX_INGRESS, libbpf=(1, 3)),
        Section("tcx/egress", P.SCHED_CLS, A.TCX_EGRESS, libbpf=(1, 3)),
        Section("netkit/primary", P.SCHED_CLS, A.NETKIT_PRIMARY, libbpf=(1, 3)),
        Section("netkit/peer", P.SCHED_CLS, A.NETKIT_PEER, libbpf=(1, 3)),
        Section("netfilter", P.NETFILTER, A.NETFILTER, libbpf=(1, 2)),
        Section("xdp.frags/devmap", P.XDP, A.XDP_DEVMAP, fragments=True),
        Section("xdp/devmap", P.XDP, A.XDP_DEVMAP),
        Section("xdp.frags/cpumap", P.XDP, A.XDP_CPUMAP, fragments=True),
        Section("xdp/cpumap", P.XDP, A.XDP_CPUMAP),
        Section("xdp.frags", P.XDP, A.XDP, fragments=True),
        Section("xdp", P.XDP, A.XDP),
        Section("lwt_in", P.LWT_IN),
        Section("lwt_out", P.LWT_OUT),
        Section("lwt_xmit", P.LWT_XMIT),
        Section("lwt_seg6local", P.LWT_SEG6LOCAL),
        Section("sockops", P.SOCK_OPS, A.CGROUP_SOCK_OPS),
        Section("sk_skb/stream_parser", P.SK_SKB, A.SK_SKB_STREAM_PARSER),
        Section("sk_skb/stream_verdict", P.SK_SKB, A.SK_SKB_STREAM_VERDICT),
        Section("sk_skb/verdict", P.SK_SKB, A.SK_SKB_VERDICT, libbpf=(1, 5)),
        Section("sk_skb", P.SK_SKB),
        Section("sk_msg", P.SK_MSG, A.SK_MSG_VERDICT),
        Section("lirc_mode2", P.LIRC_MODE2, A.LIRC_MODE2),
        Section("flow_dissector", P.FLOW_DISSECTOR, A.FLOW_DISSECTOR),
        Section("sk_lookup", P.SK_LOOKUP, A.SK_LOOKUP),
    ]


def _tracing() -> list[Section]:
    sections = [
        Section("kprobe.multi+", P.KPROBE, A.TRACE_KPROBE_MULTI),
        Section("kretprobe.multi+", P.KPROBE, A.TRACE_KPROBE_MULTI),
        Section("tp_btf+", P.TRACING, A.TRACE_RAW_TP),
        Section("freplace+", P.EXT),
        Section("lsm+", P.LSM, A.LSM_MAC),
        Section("lsm.s+", P.LSM, A.LSM_MAC, sleepable=True),
        Section("lsm_cgroup+", P.LSM, A.LSM_CGROUP),
        Section("syscall", P.SYSCALL, sleepable=True),
        Section("perf_event", P.PERF_EVENT),
        Section("struct_ops+", P.STRUCT_OPS),
        Section("struct_ops.s+", P.STRUCT_OPS, sleepable=True, libbpf=(1, 2)),
        Section("uprobe.multi+", P.KPROBE, A.TRACE_UPROBE_MULTI, libbpf=(1, 3)),
        Section("uretprobe.multi+", P.KPROBE, A.TRACE_UPROBE_MULTI, libbpf=(1, 3)),
        Section("uprobe.multi.s+", P.KPROBE, A.TRACE_UPROBE_MULTI, sleepable=True, libbpf=(1, 3)),
        Section("uretprobe.multi.s+", P.KPROBE, A.TRACE_UPROBE_MULTI, sleepable=True, libbpf=(1, 3)),
        Section("kprobe.session+", P.KPROBE, A.TRACE_KPROBE_SESSION, libbpf=(1, 5)),
    ]
    probes = ("kprobe", "kretprobe", "uprobe", "uretprobe", "ksyscall", "kretsyscall", "usdt")
    sections += [Section(f"{name}+", P.KPROBE) for name in probes]
    sections += [Section(f"{name}.s+", P.KPROBE, sleepable=True) for name in ("uprobe", "uretprobe")]
    sections += [Section(f"{name}+", P.TRACEPOINT) for name in ("tracepoint", "tp")]
    for name in ("raw_tracepoint", "raw_tp"):
        sections.append(Section(f"{name}+", P.RAW_TRACEPOINT))
        sections.append(Section(f"{name}.w+", P.RAW_TRACEPOINT_WRITABLE))
    for name, attach_type in (
        ("fentry", A.TRACE_FENTRY),
        ("fexit", A.TRACE_FEXIT),
        ("fmod_ret", A.MODIFY_RETURN),
        ("iter", A.TRACE_ITER),
    ):
        sections.append(Section(f"{name}+", P.TRACING, attach_type))
        sections.append(Section(f"{name}.s+", P.TRACING, attach_type, sleepable=True))
    return sections


@cache
def all_sections() -> dict[str, Section]:
    """Every section name that is known, as in the table (with its ``+``)."""
    return _cgroup() | {section.name: section for section in (*_network(), *_tracing())}


def read(name: str) -> Section:
    """The meaning of section ``name``; ``type`` is None if libbpf would not know it either."""
    autoload = not name.startswith("?")
    name = name if autoload else name[1:]
    table = all_sections()
    head = name.partition("/")[0]
    found = table.get(name) or table.get(f"{head}+") or Section(name, None)
    # "kprobe+" is a row of the table, not a name that an object may use
    if name.endswith("+") and "/" not in name:
        found = Section(name, None)
    return found._replace(name=name, autoload=autoload)
