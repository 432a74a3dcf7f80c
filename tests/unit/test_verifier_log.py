"""The verifier's log becomes one useful line: logs of several kernels, whole, cut, and of no shape at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfmesh.objects.verifier import refusal

# 6.18: the source line names its file
NULL_POINTER = """\
0: R1=ctx() R10=fp0
; __u32 key = skb->mark; @ judge.bpf.c:10
0: (61) r1 = *(u32 *)(r1 +8)          ; R1=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
1: (63) *(u32 *)(r10 -4) = r1         ; R1=scalar(id=1) R10=fp0 fp-8=mmmm????
2: (bf) r2 = r10                      ; R2=fp0 R10=fp0
;  @ judge.bpf.c:0
3: (07) r2 += -4                      ; R2=fp-4
; __u64 *value = bpf_map_lookup_elem(&h, &key); @ judge.bpf.c:11
4: (18) r1 = 0xffff8881043c5c00       ; R1=map_ptr(map=h,ks=4,vs=32)
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=2,map=h,ks=4,vs=32)
; return value[0]; @ judge.bpf.c:12
7: (79) r0 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

# 5.15: no file, states behind the instruction as comments and on lines of their own
PACKET = """\
Validating prog() func#0...
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; __u8 *data = (void *)(long)skb->data;
0: (61) r1 = *(u32 *)(r1 +76)
1: R1_w=pkt(id=0,off=0,r=0,imm=0) R10=fp0
; return data[3];
1: (71) r0 = *(u8 *)(r1 +3)
invalid access to packet, off=3 size=1, R1(id=0,off=3,r=0)
R1 offset is outside of the packet
verification time 48 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

LOOP = """\
; while (number < 0xffffffff) number++; @ loop.bpf.c:12
3: (61) r1 = *(u32 *)(r10 -4)
infinite loop detected at insn 3
cur state: R0=scalar() R1=scalar() R10=fp0 fp-8=mmmm????
old state: R0=scalar() R1=scalar() R10=fp0 fp-8=mmmm????
processed 12 insns (limit 1000000) max_states_per_insn 1 total_states 1 peak_states 1 mark_read 1
"""

TOO_LARGE = """\
from 12 to 9: R0=scalar() R10=fp0
9: (07) r1 += 1                       ; R1_w=scalar()
BPF program is too large. Processed 1000001 insn
processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 900 peak_states 900 mark_read 2
"""

NO_DEBUG_INFORMATION = """\
0: (b7) r0 = 0
1: (85) call bpf_msg_pull_data#62
program of this type cannot use helper bpf_msg_pull_data#62
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

TWO_BRANCHES = """\
; if (a) @ x.c:1
0: (15) if r1 == 0x0 goto pc+2        ; R1=scalar()
; first(); @ x.c:2
1: (b7) r0 = 1                        ; R0=1
2: (95) exit
mark_precise: frame0: last_idx 2 first_idx 0 subseq_idx -1
mark_precise: frame0: regs=r0 stack= before 1: (b7) r0 = 1

from 0 to 3: R1=0 R10=fp0
; second(); @ x.c:4
3: (95) exit
R0 !read_ok
processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_the_line_has_reason_remedy_source_and_place() -> None:
    found = refusal(NULL_POINTER)
    assert str(found) == (
        "R0 invalid mem access 'map_value_or_null': check the pointer for NULL before it,"
        ' at "return value[0];" (judge.bpf.c:12)'
    )
    assert (found.instruction, found.instruction_text) == (7, "r0 = *(u64 *)(r0 +0)")


def test_a_reason_of_two_lines_is_kept_whole_and_an_older_kernels_source_has_no_place() -> None:
    assert str(refusal(PACKET)) == (
        "invalid access to packet, off=3 size=1, R1(id=0,off=3,r=0); R1 offset is outside of the packet:"
        ' compare the pointer with data_end before it, at "return data[3];"'
    )


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (LOOP, 'infinite loop detected at insn 3: give the loop a constant bound, at "while'),
        (TOO_LARGE, "BPF program is too large. Processed 1000001 insn: split the program"),
        (NO_DEBUG_INFORMATION, "program of this type cannot use helper bpf_msg_pull_data#62: this helper is not"),
        (TWO_BRANCHES, 'R0 !read_ok: initialise the variable, padding included, at "second();" (x.c:4)'),
    ],
    ids=["loop", "large", "helper", "branches"],
)  # fmt: skip
def test_states_and_statistics_are_never_the_reason(log: str, line: str) -> None:
    assert str(refusal(log)).startswith(line)


def test_without_debug_information_the_instruction_is_named() -> None:
    assert str(refusal(NO_DEBUG_INFORMATION)).endswith("at instruction 1: call bpf_msg_pull_data#62")


def test_a_field_that_this_kernel_lacks_is_said_to_be_that() -> None:
    reason = "failed to resolve CO-RE relocation <byte_off> [12] struct sock.nothing (0:1 @ offset 4)"
    log = f"0: <invalid CO-RE relocation>\n{reason}\nprocessed 2 insns (limit 1000000)\n"
    assert str(refusal(log)).startswith(f"{reason}: this kernel has no such type or field")


def test_a_log_that_lost_its_start_still_has_its_reason() -> None:
    assert "map_value_or_null" in str(refusal(NULL_POINTER[len(NULL_POINTER) // 2 :]))


@pytest.mark.parametrize("log", ["", "\n\n", "\0\0\0", "   "])
def test_an_empty_log_gives_no_reason(log: str) -> None:
    assert str(refusal(log)) == "it gave no reason"


@given(st.text())
def test_any_text_gives_one_line(log: str) -> None:
    line = str(refusal(log))
    assert line and len(line.splitlines()) == 1


@given(st.lists(st.sampled_from("".join((NULL_POINTER, PACKET, LOOP, TWO_BRANCHES)).splitlines())))
def test_any_order_of_real_lines_gives_one_line(lines: list[str]) -> None:
    line = str(refusal("\n".join(lines)))
    assert line and len(line.splitlines()) == 1
