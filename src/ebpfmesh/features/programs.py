"""Probes of what programs can do: helpers by program type, iterators, tracing, BTF."""

from __future__ import annotations

import struct
from pathlib import Path

from ebpfmesh.features import program
from ebpfmesh.features.feature import HERE, Feature, State
from ebpfmesh.features.trial import closing, partial, trial
from ebpfmesh.lowlevel import attach, bpf
from ebpfmesh.lowlevel.libbpf import call, ffi, lib

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_RAW_TRACEPOINT_OPEN = 17  # enum bpf_cmd
_TRACE_FENTRY, _TRACE_ITER = 24, 28

# enum bpf_func_id
_GETSOCKOPT, _SK_STORAGE_GET, _NETNS_COOKIE, _SKC_TO_TCP_SOCK, _LOOP, _SET_RETVAL = (
    57,
    107,
    122,
    137,
    181,
    187,
)


def _helper(kind: int, helper: int) -> State:
    """libbpf loads a program that calls nothing but the helper, and reads in the verifier's log whether it is known."""
    found = lib().libbpf_probe_bpf_helper(kind, helper, ffi.NULL)
    if found < 0:
        return State(None, f"libbpf could not try: errno {-found}")
    return State(
        bool(found), "the verifier knows the call" if found else "the verifier does not know the call"
    )


def _btf() -> State:
    try:
        with _VMLINUX.open("rb") as file:
            magic = file.read(2)
    except FileNotFoundError:
        return State(False, f"{_VMLINUX} does not exist: the kernel was built without CONFIG_DEBUG_INFO_BTF")
    except OSError as error:
        return State(None, f"{_VMLINUX}: {error.strerror}")
    return HERE if magic == b"\x9f\xeb" else State(False, f"{_VMLINUX} holds no BTF")


def _iterator() -> State:
    def attempt() -> None:
        target = call(
            "libbpf_find_vmlinux_btf_id", b"bpf_sk_storage_map", _TRACE_ITER, what="finding the iterator"
        )
        # the verifier asks an iterator to return 0 or 1
        with closing(
            program.load(program.TRACING, _TRACE_ITER, btf_id=target, instructions=program.returning(0))
        ):
            pass

    return trial(attempt)


def _fentry() -> State:
    def attempt() -> None:
        # a function that only the kernel's own tests call: nothing runs the program
        target = call(
            "libbpf_find_vmlinux_btf_id", b"bpf_fentry_test1", _TRACE_FENTRY, what="finding the function"
        )
        with closing(
            program.load(program.TRACING, _TRACE_FENTRY, btf_id=target, instructions=program.returning(0))
        ) as loaded:
            attributes = struct.pack("=QII", 0, loaded, 0)
            link, _ = bpf.bpf(
                _RAW_TRACEPOINT_OPEN, attributes, what="attaching at a function", needs=attach.NEEDS
            )
            with closing(link):
                pass

    return trial(attempt)


FEATURES = (
    Feature("btf", "the kernel's own types, for CO-RE", "341dfcf8d78e", "5.4", _btf),
    Feature("sk_storage_sock_addr", "socket storage at connect() and sendmsg()", "fb85c4a730af", "5.3",
            partial(_helper, program.SOCK_ADDR, _SK_STORAGE_GET)),
    Feature("netns_cookie_sock_addr", "which namespace a connect() is in", "f318903c0bf4", "5.7",
            partial(_helper, program.SOCK_ADDR, _NETNS_COOKIE)),
    Feature("netns_cookie_sockops", "which namespace a connection is in", "6cf1770d63dd", "5.15",
            partial(_helper, program.SOCK_OPS, _NETNS_COOKIE)),
    Feature("tcp_sock_sockops", "reading tcp_sock at connection events", "af7ec1383361", "5.9",
            partial(_helper, program.SOCK_OPS, _SKC_TO_TCP_SOCK)),
    Feature("set_retval", "choosing the errno of a refused call", "b44123b4a3dc", "5.18",
            partial(_helper, program.SOCK_ADDR, _SET_RETVAL)),
    Feature("loop", "bpf_loop()", "e6f2dd0f8067", "5.17", partial(_helper, program.SK_MSG, _LOOP)),
    Feature("iter_sk_storage", "walking the sockets that hold a storage", "5ce6e77c7edf", "5.9", _iterator),
    Feature("fentry", "programs at kernel functions", "fec56f5890d9", "5.5", _fentry),
)  # fmt: skip
