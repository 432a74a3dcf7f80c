"""No chain of calls is too deep for the stack as 6.1 counts it; and a chain that is gets found."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_objects import HEADER, compile_object

import stack_depth

ROOM = """
#define NOINLINE __attribute__((noinline))
#define TAKE(bytes) char room[bytes]; asm volatile("" : : "r"(room) : "memory")
"""
CALLBACK = """
static NOINLINE long last(__u32 step, void *context)
{
    TAKE(LAST);
    return 0;
}
NOINLINE int middle(struct __sk_buff *skb)
{
    TAKE(MIDDLE);
    bpf_loop(4, last, 0, 0);
    return skb->len;
}
SEC("tc") int first(struct __sk_buff *skb) { return middle(skb); }
"""
ROW = "".join(
    f"static NOINLINE int row{number}(int x) {{ barrier(); return {call} + 1; }}\n"
    for number, call in [(7, "x"), *((number, f"row{number + 1}(x)") for number in reversed(range(7)))]
)
CALLS = f"""
{ROW}
SEC("tc") int first(struct __sk_buff *skb) {{ return row0(skb->len); }}
"""
TAIL_CALL = """
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); }
    jumps SEC(".maps");
static NOINLINE int jump(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &jumps, 0);
    return 1;
}
SEC("tc") int first(struct __sk_buff *skb)
{
    TAKE(BYTES);
    return jump(skb);
}
"""


def made(tmp_path: Path, source: str, *options: str) -> dict[str, stack_depth.Function]:
    path = tmp_path / "made.bpf.o"
    path.write_bytes(compile_object(HEADER + ROOM + source, "-mcpu=v3", *options))
    return stack_depth.functions(path)


def test_what_we_build_fits_the_stack_of_6_1() -> None:
    built = stack_depth.objects()
    assert {path.name.partition(".")[0] for path in built} >= {
        "connect",
        "l7",
        "l7_http1",
        "l7_http2",
        "grpc",
    }
    found = {path.name: list(stack_depth.refusals(stack_depth.functions(path))) for path in built}
    assert not {name: lines for name, lines in found.items() if lines}


def test_frames_are_rounded_and_callbacks_belong_to_the_chain(tmp_path: Path) -> None:
    of = made(tmp_path, CALLBACK, "-DLAST=65", "-DMIDDLE=40")
    chain = stack_depth.deepest(of, "first")
    assert [one.name for one in chain.functions] == ["first", "middle", "last"]
    assert [one.rounded for one in chain.functions] == [32, 64, 96]
    assert chain.depth == 192
    assert not list(stack_depth.refusals(of))


def test_a_chain_that_is_too_deep_for_6_1_alone_is_found(tmp_path: Path) -> None:
    of = made(tmp_path, CALLBACK, "-DLAST=8", "-DMIDDLE=456")
    assert sum(-(-max(one.frame, 1) // 16) * 16 for one in of.values()) <= 512
    (line,) = stack_depth.refusals(of)
    assert line.startswith("first: 544 bytes: first:0 > middle:4")


def test_too_many_calls_in_a_row_are_found(tmp_path: Path) -> None:
    (line,) = stack_depth.refusals(made(tmp_path, CALLS))
    assert line == "first: 9 calls in a row"


@pytest.mark.parametrize(("room", "refused"), [(192, False), (255, True)])
def test_a_tail_call_far_down_is_found(tmp_path: Path, room: int, refused: bool) -> None:
    of = made(tmp_path, TAIL_CALL, f"-DBYTES={room}")
    assert of["jump"].tail_calls
    assert bool(list(stack_depth.refusals(of))) is refused
