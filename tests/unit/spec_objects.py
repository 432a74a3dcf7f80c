"""Compiling BPF objects for the tests of spec/ and layout/."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

HEADER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
"""
LICENSE = 'char LICENSE[] SEC("license") = "GPL";\n'

SAMPLE = """
enum kind { FIRST, FIFTH = 5 };
enum sign { BELOW = -1, ABOVE = 1 };
enum wide { HUGE = 1ULL << 40 };
struct inside { __u32 number; char name[5]; };
struct key {
    __u8 address[16];
    __u16 port;
    union { __u32 a; __u64 b; } either;
    struct inside nested[2];
    enum kind kind;
    _Bool on;
    struct { __u32 anonymous; };
    const volatile __s64 *pointer;
    enum sign sign;
};
struct bits { __u32 low : 3; __u32 high : 29; __u64 whole; };
struct wide_value { unsigned __int128 wide; enum wide huge; __u8 tail; };
struct packed { __u8 first; __u32 second; } __attribute__((packed));
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, struct key);
    __type(value, __u64);
    __uint(max_entries, 10);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u16); __uint(max_entries, 4); };
struct inner first_inner SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __type(key, __u32);
    __uint(max_entries, 10);
    __array(values, struct inner);
} outer SEC(".maps") = { .values = { &first_inner } };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(key_size, 12);
    __uint(value_size, sizeof(struct bits));
    __uint(max_entries, 1);
} sizes_only SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct bits); __uint(max_entries, 1);
} bit_fields SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct wide_value); __uint(max_entries, 1);
} wides SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct packed); __uint(max_entries, 1);
} packs SEC(".maps");
SEC("tc") int classify(struct __sk_buff *skb);
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 2);
    __uint(key_size, 4);
    __array(values, int (struct __sk_buff *));
} calls SEC(".maps") = { .values = { (void *)&classify } };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");

const volatile __u32 limit = 7;
static volatile const __u16 hidden = 9;
__u64 counter;
int started = 4;
static int calls_seen;
__u32 table[3] SEC(".data.table") = { 1, 2, 3 };

static __attribute__((noinline)) int deeper(int x) { return x * 3 + calls_seen; }

SEC("tc") int classify(struct __sk_buff *skb)
{
    static __u64 runs;
    struct key key = {};
    __u64 *value = bpf_map_lookup_elem(&flows, &key);
    if (value) *value += limit + hidden;
    runs++; counter++; calls_seen++; started++;
    table[counter & 1]++;
    bpf_tail_call(skb, &calls, 0);
    return deeper(skb->len) + runs;
}
SEC("?cgroup/connect4") int refuse(struct bpf_sock_addr *address) { return 1; }
SEC("cgroup/connect4") int accept(struct bpf_sock_addr *address) { return 1; }
SEC("cgroup/connect4") int count(struct bpf_sock_addr *address) { counter++; return 1; }
"""


@cache
def compile_object(source: str, *options: str) -> bytes:
    """The object that clang makes of ``source`` after the usual headers; the test is skipped where clang is absent."""
    clang = shutil.which("clang")
    if clang is None or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs clang and libbpf-dev")
    include = next(Path("/usr/include").glob("*-linux-gnu/asm"), Path("/usr/include")).parent
    arguments = [
        clang,
        "-O2",
        "-g",
        "-target",
        "bpf",
        f"-I{include}",
        *options,
        "-x",
        "c",
        "-c",
        "-",
        "-o",
        "-",
    ]
    done = subprocess.run(arguments, input=source.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def sample(*options: str) -> bytes:
    """The object of SAMPLE."""
    return compile_object(HEADER + SAMPLE + LICENSE, *options)
