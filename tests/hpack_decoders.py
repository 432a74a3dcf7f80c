"""HPACK's C core for tests: one decoder over the core's own structures, run natively or in the kernel.

The C below keeps everything of one connection in one structure, and does one thing at a call. The native build is called
through ctypes; the kernel's is a tc program run by BPF_PROG_TEST_RUN, its structure the memory of a mapped array.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ebpfmesh import objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf

INCLUDE = Path(__file__).parents[1] / "src/ebpfmesh/bpf/include"

ALL_HEADERS = 1  # enum l7_config_flag
NO_OFFSETS, DECODE, SET_LIMIT = range(3)

TOO_LONG = 4  # enum l7_code
# enum hpack_code
(CUT, INTEGER, INDEX, PADDING, EOS, SIZE, LATE_SIZE, NO_SIZE, FORGOTTEN, LONG_FIELD, LONG_LIST) = range(
    80, 91
)

_CORE = """
#include <ebpfmesh/parser.h>

struct shown_field {
	__u32 at;
	__u16 name;
	__u16 value;
	__u16 tag;
	__u16 never;
	__u32 reserved;
};

struct shown {
	__u32 count;
	__u32 tags;	/* how often a name was looked at */
	__u32 keep;	/* what the hook answers */
	__u32 reserved;
	struct shown_field fields[4096];
};

#define HPACK_HEAD struct shown
#define HPACK_TAG(walk, index, at, length) show_tag((walk)->head, index, length)
#define HPACK_FIELD(walk, tag, name_at, name_length, value_at, value_length) \\
	show((walk)->head, name_at, name_length, value_length, tag, (walk)->never)

L7_INLINE __u16 show_tag(struct shown *shown, __u32 index, __u32 length)
{
	shown->tags++;
	return index ? index : 1000 + length;
}

L7_INLINE int show(struct shown *shown, __u32 at, __u32 name, __u32 value, __u32 tag, __u32 never)
{
	struct shown_field *field = &shown->fields[L7_INDEX(shown->count, 4096)];

	field->at = at;
	field->name = name;
	field->value = value;
	field->tag = tag;
	field->never = never;
	shown->count++;
	return (int)shown->keep;
}

#include <ebpfmesh/l7/hpack.h>

struct connection {
	__u32 operation;
	__u32 argument;
	__s32 code;
	__u32 escalates;
	__u32 offsets[6];
	__u32 sizes[4];
	struct l7_config config;
	struct hpack_table table;
	struct hpack_block block;
	struct shown shown;
	struct l7_record record;
};

L7_INLINE void run(struct connection *connection)
{
	if (connection->operation == 0) {
		connection->offsets[0] = __builtin_offsetof(struct connection, config);
		connection->offsets[1] = __builtin_offsetof(struct connection, table);
		connection->offsets[2] = __builtin_offsetof(struct connection, block);
		connection->offsets[3] = __builtin_offsetof(struct connection, shown);
		connection->offsets[4] = __builtin_offsetof(struct connection, record.used);
		connection->offsets[5] = __builtin_offsetof(struct connection, record.text);
		connection->sizes[0] = sizeof(struct connection);
		connection->sizes[1] = HPACK_ENTRIES;
		connection->sizes[2] = HPACK_BLOCK;
		connection->sizes[3] = HPACK_CAPACITY;
	} else if (connection->operation == 1) {
		connection->code = hpack_decode(&connection->config, &connection->table, &connection->block,
						&connection->shown, &connection->record);
		connection->escalates = hpack_escalates(connection->code);
	} else {
		hpack_set_limit(&connection->table, connection->argument);
	}
}
"""
_NATIVE = "void hpack_run(struct connection *connection) { run(connection); }\n"
_KERNEL = """
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");
char _license[] SEC("license") = "Dual BSD/GPL";

SEC("tc") int hpack_run(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	(void)skb;
	if (connection)
		run(connection);
	return 0;
}
SEC("sk_msg") int hpack_run_msg(struct sk_msg_md *msg)
{
	__u32 key = 0;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	(void)msg;
	if (connection)
		run(connection);
	return 1;
}
SEC("sk_skb/stream_verdict") int hpack_run_skb(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	(void)skb;
	if (connection)
		run(connection);
	return 1;
}
"""
KERNEL_TEXT = _CORE + _KERNEL


class Field(NamedTuple):
    """One field of a header list, as the core's hook was shown it."""

    name: bytes
    value: bytes
    never: bool  # marked never-indexed
    tag: int  # the index of a static entry with this name, or 1000 and the length of the name


class Entry(NamedTuple):
    """One entry of the dynamic table."""

    name: bytes
    value: bytes
    tag: int


class Decoded(NamedTuple):
    """What became of one block. ``code`` is 0, or says what was wrong ``at`` this byte; ``fields`` came before."""

    code: int
    at: int
    fields: tuple[Field, ...]

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Names and values alone."""
        return tuple((field.name, field.value) for field in self.fields)


class Decoder:
    """One direction of one connection: its dynamic table, and the core that decodes its blocks."""

    def __init__(self, memory: memoryview, call: Callable[[], None]) -> None:
        self._memory, self._call = memory, call
        self._run(NO_OFFSETS)
        config, table, block, shown, used, text, _, self._entries, self.block_room, self.capacity = (
            struct.unpack_from("<10I", memory, 16)
        )
        self._config, self._table, self._block, self._shown, self._used, self._text = (
            config,
            table,
            block,
            shown,
            used,
            text,
        )
        self.reset()

    def reset(
        self, *, flags: int = 0, head_limit: int = 0, text_limit: int = 0, table_limit: int = 0, keep: int = 1
    ) -> None:
        """A new connection, with this configuration; ``keep`` is what the hook answers for each field."""
        self._memory[self._config : self._block] = bytes(self._block - self._config)
        struct.pack_into("<6I", self._memory, self._config, 0, flags, 0, head_limit, text_limit, table_limit)
        self.flags, self._keep = flags, keep

    def set_limit(self, limit: int) -> None:
        """SETTINGS_HEADER_TABLE_SIZE was acknowledged."""
        self._run(SET_LIMIT, limit)

    def decode(self, block: bytes) -> Decoded:
        """Decode a block; natively up to 65,536 bytes, 4,096 in the kernel."""
        memory = self._memory
        struct.pack_into("<I", memory, self._block, len(block))
        memory[self._block + 16 : self._block + 16 + len(block)] = block
        # what lies behind a block is none of its business: here it looks like the rest of one
        memory[
            self._block + 16 + len(block) : self._block + 16 + min(len(block) + 64, self.block_room + 64)
        ] = b"\xff" * min(64, self.block_room + 64 - len(block))
        struct.pack_into("<III", memory, self._shown, 0, 0, self._keep & 0xFFFFFFFF)
        struct.pack_into("<I", memory, self._used, 0)
        code = self._run(DECODE)
        (at,) = struct.unpack_from("<I", memory, self._block + 4)
        return Decoded(code, at, tuple(self._fields()))

    @property
    def escalates(self) -> bool:
        """Whether the last code means a limit of ours."""
        return bool(struct.unpack_from("<I", self._memory, 12)[0])

    @property
    def names_looked_at(self) -> int:
        """How many names of the last block were new."""
        return int(struct.unpack_from("<I", self._memory, self._shown + 4)[0])

    def listed(self) -> list[tuple[bytes, bytes]]:
        """What the text of the record holds, read as L7_ALL_HEADERS lists it."""
        (used,) = struct.unpack_from("<I", self._memory, self._used)
        text, at, result = bytes(self._memory[self._text : self._text + used]), 0, []
        while at < used:
            name, value = struct.unpack_from("<HH", text, at)
            at += 4 + name + value
            result.append((text[at - name - value : at - value], text[at - value : at]))
        assert at == used
        return result

    @property
    def used(self) -> int:
        """Bytes of text that are kept of the last block."""
        return int(struct.unpack_from("<I", self._memory, self._used)[0])

    def table(self) -> list[Entry]:
        """The entries of the dynamic table, the newest first."""
        count, inserted = struct.unpack_from("<II", self._memory, self._table + 20)
        entries, ring = self._table + 64, self._table + 64 + 8 * self._entries
        result = []
        for age in range(1, count + 1):
            place = (inserted - age) % self._entries
            chunk, name, value, tag = struct.unpack_from("<4H", self._memory, entries + 8 * place)
            text = b""
            for number in range(-(-(name + value) // 32)):
                start = ring + (chunk + number) * 32 % self.capacity
                text += bytes(self._memory[start : start + 32])
            result.append(Entry(text[:name], text[name : name + value], tag))
        return result

    @property
    def size(self) -> int:
        """The size of the dynamic table, by RFC 7541 section 4.1."""
        return int(struct.unpack_from("<I", self._memory, self._table + 16)[0])

    def _run(self, operation: int, argument: int = 0) -> int:
        struct.pack_into("<II", self._memory, 0, operation, argument)
        self._call()
        return int(struct.unpack_from("<i", self._memory, 8)[0])

    def _fields(self) -> Iterator[Field]:
        (count,) = struct.unpack_from("<I", self._memory, self._shown)
        at = self._shown + 16
        for _ in range(min(count, 4096)):
            text, name, value, tag, never = struct.unpack_from("<IHHHH", self._memory, at)
            at += 16
            start = self._text + text
            both = bytes(self._memory[start : start + name + value])
            yield Field(both[:name], both[name:], bool(never), tag)


@cache
def _library(capacity: int | None) -> ctypes.CDLL:
    compiler = shutil.which("clang") or shutil.which("cc")
    assert compiler is not None
    with TemporaryDirectory(prefix="ebpfmesh-hpack-") as directory:
        source, library = Path(directory, "hpack.c"), Path(directory, "hpack.so")
        source.write_text(_text(capacity) + _NATIVE)
        warnings = ["-Wall", "-Wextra", "-Werror"]
        checks = ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
        subprocess.run(
            [
                compiler,
                "-O1",
                *warnings,
                *checks,
                "-shared",
                "-fPIC",
                "-I",
                str(INCLUDE),
                str(source),
                "-o",
                str(library),
            ],
            check=True,
        )
        return ctypes.CDLL(str(library))


def _text(capacity: int | None) -> str:
    return (f"#define HPACK_CAPACITY {capacity}\n" if capacity is not None else "") + _CORE


def native(capacity: int | None = None) -> Decoder:
    """The core in this process, with traps for undefined behaviour; ``capacity`` is HPACK_CAPACITY, if not its default."""
    library = _library(capacity)
    memory = ctypes.create_string_buffer(512 << 10)
    decoder = Decoder(memoryview(memory).cast("B"), lambda: library.hpack_run(memory))
    assert struct.unpack_from("<I", memory, 16 + 24)[0] <= len(memory)
    return decoder


@contextmanager
def kernel(capacity: int | None = None) -> Iterator[Decoder]:
    """The core in the kernel; needs root."""
    spec = ObjectSpec.from_bytes(compile_bpf(_text(capacity) + _KERNEL), name="hpack")
    with objects.load(spec) as loaded:
        program = loaded.programs["hpack_run"]
        with loaded.maps["connections"].mmap() as memory:
            decoder = Decoder(memory.buffer, lambda: program.test_run(bytes(14)))
            yield decoder
            decoder._memory = memoryview(b"")
