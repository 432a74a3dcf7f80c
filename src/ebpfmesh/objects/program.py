"""Program: a loaded BPF program, its description, its statistics, and test runs."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from ebpfmesh.errors import CapabilityError, EbpfMeshError, KernelError, NotSupportedError
from ebpfmesh.lowlevel import bpf, libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor, Owned
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.lowlevel.pin import open_pinned, pin
from ebpfmesh.maps.info import read_info
from ebpfmesh.spec import AttachType, ProgramSpec, ProgramType

# struct bpf_prog_info up to attach_btf_id, include/uapi/linux/bpf.h
_INFO = struct.Struct("=II8sIIQQQIIQ16sIIQQIIQQIIQIIQQIIIIQQQQII")
_ENOTSUPP = 524
_ENABLE_STATS = 32  # enum bpf_cmd


class ProgramInfo(NamedTuple):
    """A loaded program as the kernel describes it.

    ``tag`` is the digest of its instructions in hexadecimal; ``instructions`` and ``machine_code`` are its sizes after
    verification, in instructions of 8 bytes and in bytes (0: not compiled); ``verified_instructions`` is how many the
    verifier walked (5.16, commit aba64c7da983; 0 before). ``run_cnt`` runs took ``run_time_ns`` while statistics were on.
    """

    id: int
    name: str
    type: ProgramType | int
    tag: str
    instructions: int
    machine_code: int
    verified_instructions: int
    run_cnt: int
    run_time_ns: int
    recursion_misses: int
    btf_id: int
    gpl_compatible: bool


class TestRun(NamedTuple):
    """What a test run gave: the program's return value, the packet and context after it, nanoseconds of one run."""

    value: int
    data: bytes
    context: bytes
    duration_ns: int


def program_info(fd: int, where: str = "") -> ProgramInfo:
    """Describe the program behind ``fd``. Errors: KernelError. Minimum kernel: 4.13."""
    fields = _INFO.unpack(read_info(fd, _INFO.size, where or f"descriptor {fd}"))
    return ProgramInfo(
        id=fields[1],
        name=fields[11].rstrip(b"\0").decode("ascii", "replace"),
        type=_type(fields[0]),
        tag=fields[2].hex(),
        instructions=fields[4] // 8,
        machine_code=fields[3],
        verified_instructions=fields[35],
        run_cnt=fields[33],
        run_time_ns=fields[32],
        recursion_misses=fields[34],
        btf_id=fields[20],
        gpl_compatible=bool(fields[13] & 1),
    )


def _type(number: int) -> ProgramType | int:
    try:
        return ProgramType(number)
    except ValueError:
        return number


class Program(Owned):
    """A loaded program: ``name``, ``type``, ``attach_type``, ``id``, ``tag``; ``spec`` is None if it was opened from a pin.

    Minimum kernel: that of its type. Capabilities: CAP_BPF, and CAP_NET_ADMIN for network types.
    """

    def __init__(self, descriptor: Descriptor, name: str = "", spec: ProgramSpec | None = None) -> None:
        super().__init__(descriptor)
        info = program_info(descriptor.fd, f"program {name}")
        self.name, self.spec, self.id, self.tag = name or info.name, spec, info.id, info.tag
        self.type: ProgramType | int = info.type
        # what the kernel was told at load; it does not give it back, so a program from a pin has none
        self.attach_type: AttachType | None = spec.attach_type if spec else None

    @classmethod
    def open_pinned(cls, path: Path | str, spec: ProgramSpec | None = None) -> Self:
        """The program pinned at ``path``. Errors: HostError (nothing there, no bpffs, no program)."""
        descriptor = Descriptor(open_pinned(path, "prog"), f"program at {path}")
        return cls(descriptor, spec.name if spec else "", spec)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        kind = self.type.name if isinstance(self.type, ProgramType) else f"type {self.type}"
        return f"<Program {self.name} ({kind}), {'closed' if self.closed else f'id {self.id}'}>"

    def _label(self) -> str:
        return f"program {self.name}"

    def info(self) -> ProgramInfo:
        """What the kernel says of it now."""
        with self.descriptor as fd:
            return program_info(fd, self._label())

    def pin(self, path: Path | str) -> None:
        """Pin it at ``path`` on a bpffs: it then lives on without this process. Errors: HostError, KernelError (EEXIST)."""
        with self.descriptor as fd:
            pin(fd, path, self._label())

    def test_run(
        self, data: bytes = b"", *, context: bytes = b"", repeat: int = 1, room: int = 256, flags: int = 0
    ) -> TestRun:
        """Run it ``repeat`` times on the packet ``data`` with the type's ``context`` struct, attached to nothing.

        ``room`` is by how many bytes the packet may grow. What may be passed depends on the type: a packet of 14 bytes at
        least for tc and xdp, a context alone for sk_lookup and syscall programs.

        Errors: NotSupportedError (sockops, sk_msg and cgroup address programs have no test run), KernelError (EINVAL: the
        data does not fit the type). Minimum kernel: 4.12 (commit 1cf1cae963c2). Capabilities: CAP_BPF, CAP_NET_ADMIN.
        """
        out = ffi.new("char[]", len(data) + room)
        context_in, context_out = ffi.new("char[]", context), ffi.new("char[]", context)
        packet = ffi.from_buffer(data)
        options = libbpf.opts("bpf_test_run_opts", flags=flags)
        if data:
            options.data_in, options.data_size_in = packet, len(data)
            options.data_out, options.data_size_out = out, len(data) + room
        if context:
            options.ctx_in, options.ctx_size_in = context_in, len(context)
        # a syscall program takes neither, not even repeat = 1, and changes its context in place
        # (bpf_prog_test_run_syscall, net/bpf/test_run.c)
        if self.type != ProgramType.SYSCALL:
            options.repeat = repeat
            if context:
                options.ctx_out, options.ctx_size_out = context_out, len(context)
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_prog_test_run_opts(fd, options)
        if result != 0:
            raise self._test_run_error(result)
        changed = context_in if self.type == ProgramType.SYSCALL else context_out
        return TestRun(
            value=options.retval,
            data=bytes(ffi.buffer(out, options.data_size_out)) if data else b"",
            context=bytes(ffi.buffer(changed, len(context))),
            duration_ns=options.duration,
        )

    def _test_run_error(self, number: int) -> EbpfMeshError:
        if number in (_ENOTSUPP, errno.EOPNOTSUPP):
            return NotSupportedError("programs of this type have no test run", where=self._label())
        error = libbpf.failure("test run", number, needs="CAP_BPF CAP_NET_ADMIN")
        if isinstance(error, CapabilityError):
            return error
        return KernelError("test run", errno=number, where=self._label())


@contextmanager
def run_statistics() -> Iterator[None]:
    """Count runs and nanoseconds of every program of the host for the duration of the block (some 20 ns a run).

    Errors: CapabilityError, KernelError (EINVAL before 5.8, commit d46edd671a14). Capabilities: CAP_SYS_ADMIN.
    """
    fd, _ = bpf.bpf(
        _ENABLE_STATS, struct.pack("=I", 0), what="counting runs of programs", needs="CAP_SYS_ADMIN"
    )
    try:
        yield
    finally:
        os.close(fd)
