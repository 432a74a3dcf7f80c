"""OpenObject: libbpf's object between opening and loading; it exists only inside objects.load()."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from ebpfmesh.errors import CapabilityError, HostError, LoadError, VerifierError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.objects.verifier import refusal
from ebpfmesh.spec import ObjectSpec, ProgramType

_FAILED_PROGRAM = re.compile(
    r"prog '([^']+)': (?:-- BEGIN PROG LOAD LOG|BPF program load failed|failed to load)"
)
LOG_SIZES = 1 << 20, (1 << 24) - 1  # the kernel took at most 16 MiB before 5.2 (commit 7a9f5c65abcc)
_TRACING = {
    ProgramType.TRACING,
    ProgramType.KPROBE,
    ProgramType.TRACEPOINT,
    ProgramType.LSM,
    ProgramType.PERF_EVENT,
}


class OpenObject:
    """An object opened by libbpf from memory, to be changed and then loaded once."""

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self._data = ffi.from_buffer(spec.data)  # libbpf reads it until it is closed
        # without a name libbpf calls the object by its address, and .rodata with it: a random name for each load
        name = ffi.new("char[]", spec.name.encode())
        with libbpf.messages() as lines:
            self._object = libbpf.lib().bpf_object__open_mem(
                self._data, len(spec.data), libbpf.opts("bpf_object_open_opts", object_name=name)
            )
            number = ffi.errno
        if self._object == ffi.NULL:
            raise LoadError(
                "libbpf cannot open it" + _quoted(lines), errno=number, where=f"object {spec.name}"
            )
        self.maps = dict(self._maps())
        self.programs = dict(self._programs())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        libbpf.lib().bpf_object__close(self._object)  # closes every descriptor that it holds

    def _maps(self) -> Iterator[tuple[str, Any]]:
        lib, each = libbpf.lib(), ffi.NULL
        while (each := lib.bpf_object__next_map(self._object, each)) != ffi.NULL:
            yield self._section_of(_text(lib.bpf_map__name(each))), each

    def _section_of(self, name: str) -> str:
        """A data section's own name: libbpf calls .bss of the object connect "connect.bss"."""
        if name not in self.spec.maps:
            tail = name[name.find(".") :]
            return tail if tail in self.spec.sections else name
        return name

    def _programs(self) -> Iterator[tuple[str, Any]]:
        lib, each = libbpf.lib(), ffi.NULL
        while (each := lib.bpf_object__next_program(self._object, each)) != ffi.NULL:
            name = _text(lib.bpf_program__name(each))
            declared = self.spec.programs.get(name)
            # a section that this libbpf does not know ("tcx/ingress" before 1.3) has a type all the same
            if declared and declared.type is not None and lib.bpf_program__type(each) == ProgramType.UNSPEC:
                lib.bpf_program__set_type(each, int(declared.type))
                lib.bpf_program__set_expected_attach_type(each, int(declared.attach_type or 0))
            yield name, each

    def call(self, function: str, *arguments: Any, where: str) -> None:
        """Call a setter of libbpf. Errors: LoadError with what libbpf said."""
        with libbpf.messages() as lines:
            result = getattr(libbpf.lib(), function)(*arguments)
        if result < 0:
            raise LoadError(f"{function} failed{_quoted(lines)}", errno=-result, where=where)

    def autoload(self, wanted: frozenset[str]) -> None:
        """Load the programs of these names, and no others."""
        for name, program in self.programs.items():
            self.call("bpf_program__set_autoload", program, name in wanted, where=f"program {name}")

    def set_bytes(self, section: str, offset: int, data: bytes) -> None:
        """Write ``data`` into the initial contents of a data section."""
        size = ffi.new("size_t *")
        start = libbpf.lib().bpf_map__initial_value(self.maps[section], size)
        if start == ffi.NULL or offset + len(data) > size[0]:
            raise LoadError(
                f"libbpf has no {len(data)} bytes at {offset} of {section}", where=f"object {self.spec.name}"
            )
        ffi.buffer(start, size[0])[offset : offset + len(data)] = data

    def load(self) -> tuple[int, list[str]]:
        """Load it: the errno (0: loaded) and what libbpf said."""
        with libbpf.messages() as lines:
            result = libbpf.lib().bpf_object__load(self._object)
        return -result, lines

    def load_with_log(self, program: str, size: int) -> tuple[int, str]:
        """Load it, keeping the verifier's log of ``program``: the errno and the log."""
        log, lib = ffi.new("char[]", size), libbpf.lib()
        self.call("bpf_program__set_log_buf", self.programs[program], log, size, where=f"program {program}")
        lib.bpf_program__set_log_level(self.programs[program], 1)
        number, _ = self.load()
        return number, _text(log)

    def descriptors(self, what: str) -> Mapping[str, Descriptor]:
        """Descriptors of our own for all loaded ``maps`` or ``programs`` by name."""
        lib, found = libbpf.lib(), {}
        items = self.maps if what == "maps" else self.programs
        number_of = lib.bpf_map__fd if what == "maps" else lib.bpf_program__fd
        for name, each in items.items():
            if (fd := number_of(each)) >= 0:
                found[name] = Descriptor.duplicate(fd, f"{what[:-1]} {name}")
        return found


def failed_program(lines: list[str]) -> str | None:
    """The program that libbpf's messages say the kernel refused."""
    for line in lines:
        if match := _FAILED_PROGRAM.search(line):
            return match[1]
    return None


def verifier_error(program: str, number: int, log: str) -> VerifierError:
    """The error for a verifier's log."""
    return VerifierError(program, str(refusal(log)), log, errno=number)


def load_error(spec: ObjectSpec, number: int, lines: list[str]) -> LoadError | CapabilityError | HostError:
    """The error for a load that failed before or without the verifier, from errno and libbpf's messages."""
    where, text = f"object {spec.name}", "\n".join(lines)
    types = {program.type for program in spec.programs.values()}
    needs = "CAP_BPF CAP_NET_ADMIN" + (" CAP_PERFMON" if types & _TRACING else "")
    failed = libbpf.failure(f"{where}: loading", number, needs=needs)
    if isinstance(failed, CapabilityError):
        return failed
    if "kernel BTF" in text or "vmlinux BTF" in text:
        return HostError(
            "it reads kernel structures, and this kernel has no BTF of them" + _quoted(lines),
            where=where,
            remedy="run a kernel with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux exists)",
        )
    return LoadError("the kernel refused to load it" + _quoted(lines), errno=number, where=where)


def _quoted(lines: list[str]) -> str:
    """libbpf's first message, which names the cause; those after it are what follows from it."""
    for line in lines:
        text = line.removeprefix("libbpf: ").strip()
        if text:
            return f" ({text.splitlines()[0]})"
    return ""


def _text(pointer: Any) -> str:
    """The C string at ``pointer``."""
    data: Any = ffi.string(pointer)
    return str(data, "utf-8", "replace")
