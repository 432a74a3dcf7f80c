"""Refused programs: one line with the reason and the source, the whole log, and nothing left open."""

from __future__ import annotations

import pytest

from ebpfmesh import objects
from ebpfmesh.errors import VerifierError
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing.compile import compile_bpf
from ebpfmesh.testing.leaks import no_leaks

pytestmark = pytest.mark.kernel

HEAD = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
SEC("license") const char licence[] = LICENCE;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32);
         __type(value, __u64[4]); } h SEC(".maps");
SEC("tc") int good(struct __sk_buff *skb) { return 0; }
"""

NULL = """
SEC("tc") int bad(struct __sk_buff *skb)
{
    __u32 key = skb->mark;
    __u64 *value = bpf_map_lookup_elem(&h, &key);
    return value[0];
}
"""
PACKET = """
SEC("tc") int bad(struct __sk_buff *skb)
{
    __u8 *data = (void *)(long)skb->data;
    return data[3];
}
"""
INDEX = """
SEC("tc") int bad(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&h, &key);
    if (!value) return 0;
    return value[skb->mark];
}
"""
LOOP = """
SEC("tc") int bad(struct __sk_buff *skb)
{
    volatile __u32 number = 0;
    while (number < 0xffffffff) number++;
    return number;
}
"""
HELPER = """
SEC("xdp") int worse(struct xdp_md *ctx) { return bpf_msg_pull_data((void *)ctx, 0, 1, 0); }
"""
LICENCE = """
SEC("tc") int bad(struct __sk_buff *skb) { return bpf_probe_read_kernel(0, 0, 0); }
"""


def refusal(text: str, licence: str = "GPL") -> VerifierError:
    spec = ObjectSpec.from_bytes(compile_bpf(HEAD.replace("LICENCE", f'"{licence}"') + text), "refused")
    with no_leaks(), pytest.raises(VerifierError) as caught:
        objects.load(spec)
    return caught.value


@pytest.mark.parametrize(
    ("text", "reason", "source"),
    [
        (NULL, "invalid mem access 'map_value_or_null'", "return value[0];"),
        (PACKET, "invalid access to packet", "return data[3];"),
        (INDEX, "unbounded memory access", "return value[skb->mark];"),
    ],
    ids=["null", "packet", "index"],
)
def test_the_error_has_the_reason_and_the_line_of_the_source(text: str, reason: str, source: str) -> None:
    error = refusal(text)
    assert error.program == "bad"
    assert reason in error.line and f'at "{source}' in error.line
    assert "\n" not in str(error) and str(error).startswith("program bad: the verifier refused it: ")
    assert "processed" in error.log and len(error.log.splitlines()) > 5
    assert error.errno == 13


def test_a_loop_without_an_end_is_said_to_be_one() -> None:
    error = refusal(LOOP)
    assert "loop" in error.line or "too large" in error.line, error.line


def test_a_helper_of_another_program_type_is_named() -> None:
    error = refusal(HELPER)
    assert error.program == "worse"
    assert "bpf_msg_pull_data" in error.line or "unknown func" in error.line, error.line


def test_a_structure_field_that_this_kernel_lacks_is_named() -> None:
    error = refusal("""
    struct sock { int sk_absent; } __attribute__((preserve_access_index));
    SEC("tc") int bad(struct __sk_buff *skb)
    {
        __u32 value = 0;
        struct sock *sock = (void *)skb->sk;
        if (sock) bpf_probe_read_kernel(&value, 4, &sock->sk_absent);
        return value;
    }
    """)
    assert "struct sock.sk_absent" in error.line and "no such type or field" in error.line, error.line


def test_a_licence_that_is_not_gpl_is_the_reason() -> None:
    error = refusal(LICENCE, licence="Proprietary")
    assert "GPL" in error.line, error.line


def test_a_refused_program_is_no_error_while_it_is_not_wanted() -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(HEAD.replace("LICENCE", '"GPL"') + NULL), "refused")
    with objects.load(spec, programs=["good"]) as loaded:
        assert loaded.programs["good"].test_run(bytes(64)).value == 0


def test_a_log_longer_than_the_first_buffer_still_ends_with_the_reason() -> None:
    steps = "".join(f"    if (skb->mark == {number}) sum += {number * 7};\n" for number in range(400))
    text = (
        'SEC("tc") int bad(struct __sk_buff *skb)\n{\n    __u64 sum = 0; __u32 key = 1;\n'
        "#pragma unroll\n    for (int i = 0; i < 20; i++) {\n"
        + steps
        + '    asm volatile("" : "+r"(sum)); }\n'
        "    __u64 *value = bpf_map_lookup_elem(&h, &key);\n    return value[0] + sum;\n}\n"
    )
    error = refusal(text)
    assert "map_value_or_null" in error.line, error.line
