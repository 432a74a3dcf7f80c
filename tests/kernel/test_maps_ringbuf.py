"""Ring buffers: order, completeness, threads, asyncio, closing while somebody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from ebpfmesh import objects
from ebpfmesh.errors import ClosedError, MapTypeError
from ebpfmesh.layout import U32, U64, Record
from ebpfmesh.maps import RingBuffer
from ebpfmesh.objects import Objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel
PACKET = bytes(64)

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct event { __u64 number; __u32 mark; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
__u64 sent, lost;
SEC("tc") int send(struct __sk_buff *skb)
{
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) { lost++; return 1; }
    event->number = sent++;
    event->mark = skb->mark;
    bpf_ringbuf_submit(event, 0);
    return 0;
}
SEC("tc") int send_short(struct __sk_buff *skb)
{
    __u32 word = 0xabcdef01;
    return bpf_ringbuf_output(&events, &word, 4, 0);
}
SEC("tc") int discard(struct __sk_buff *skb)
{
    void *event = bpf_ringbuf_reserve(&events, 8, 0);
    if (event) bpf_ringbuf_discard(event, 0);
    return 0;
}
SEC("license") const char licence[] = "GPL";
"""


class Event(Record):
    number: U64
    mark: U32


@pytest.fixture
def loaded(_leaks_fail: None) -> Iterator[Objects]:
    """The object above, with typed events."""
    spec = ObjectSpec.from_bytes(compile_bpf(SOURCE), "events")
    with objects.load(spec, types={"events": (None, Event)}) as made:
        yield made


def test_records_come_complete_and_in_order(loaded: Objects) -> None:
    ring: RingBuffer[Event] = loaded.maps["events"]
    assert ring.read(timeout=0) is None
    loaded.programs["send"].test_run(PACKET, repeat=1500)
    assert ring.fill() == (1500 * 24, 65536)
    records = ring.drain()
    assert [record.number for record in records] == list(range(1500))
    assert isinstance(records[0], Event)
    assert ring.fill()[0] == 0 and ring.drain() == []


def test_a_full_ring_loses_at_the_program_and_nothing_that_was_submitted(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]
    send.test_run(PACKET, repeat=5000)
    sent, lost = (loaded.variables[name].get() for name in ("sent", "lost"))
    assert sent + lost == 5000 and lost > 0
    assert [record.number for record in ring.drain()] == list(range(sent))
    send.test_run(PACKET)
    assert ring.read(timeout=1).number == sent  # and there is room again


def test_reading_while_programs_send_loses_nothing(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]
    got: list[int] = []
    done = threading.Event()

    def produce() -> None:
        for _ in range(50):
            send.test_run(PACKET, repeat=1000)
            time.sleep(0.002)
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    while not done.is_set() or ring.fill()[0]:
        if (record := ring.read(timeout=0.05)) is not None:
            got.append(record.number)
    thread.join()
    got += [record.number for record in ring.drain()]
    assert got == list(range(loaded.variables["sent"].get()))
    assert len(got) + loaded.variables["lost"].get() == 50_000


def test_a_waiting_iterator_gets_what_comes_and_ends_with_close(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(record.number for record in ring))
    thread.start()
    time.sleep(0.05)
    send.test_run(PACKET, repeat=3)
    time.sleep(0.05)
    send.test_run(PACKET, repeat=2)
    deadline = time.monotonic() + 5
    while len(got) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    ring.close()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert got == [0, 1, 2, 3, 4]


def test_two_threads_share_a_ring_without_a_loss(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]
    got: list[list[int]] = [[], []]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(record.number for record in ring)) for own in got
    ]
    for thread in threads:
        thread.start()
    for _ in range(20):
        send.test_run(PACKET, repeat=100)
    deadline = time.monotonic() + 5
    while sum(map(len, got)) < 2000 and time.monotonic() < deadline:
        time.sleep(0.005)
    ring.close()
    for thread in threads:
        thread.join(timeout=5)
    assert sorted(got[0] + got[1]) == list(range(2000))


def test_read_waits_no_longer_than_it_was_told(loaded: Objects) -> None:
    start = time.monotonic()
    assert loaded.maps["events"].read(timeout=0.1) is None
    assert 0.09 < time.monotonic() - start < 1


def test_asyncio_awaits_records_and_ends_with_close(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        for delay, count in ((0.05, 3), (0.1, 2)):
            loop.call_later(delay, lambda count=count: send.test_run(PACKET, repeat=count))
        loop.call_later(0.2, ring.close)
        return [record.number async for record in ring]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [0, 1, 2, 3, 4]


def test_several_tasks_share_a_ring_and_a_cancelled_one_loses_nothing(loaded: Objects) -> None:
    ring, send = loaded.maps["events"], loaded.programs["send"]
    got: list[int] = []

    async def collect() -> None:
        async for record in ring:
            got.append(record.number)  # noqa: PERF401 - what came before a cancellation counts too

    async def main() -> None:
        tasks = [asyncio.create_task(collect()) for _ in range(3)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        send.test_run(PACKET, repeat=100)
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0.02)
        send.test_run(PACKET, repeat=100)
        await asyncio.sleep(0.05)
        ring.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 5))
    assert sorted(got) == list(range(200))


def test_a_record_of_another_size_is_an_error_with_its_bytes_and_the_rest_follows(loaded: Objects) -> None:
    ring, programs = loaded.maps["events"], loaded.programs
    programs["send"].test_run(PACKET)
    programs["send_short"].test_run(PACKET)
    programs["send"].test_run(PACKET)
    assert [record.number for record in ring.drain()] == [0]
    with pytest.raises(MapTypeError, match=r"map events.*01efcdab"):
        ring.drain()
    assert [record.number for record in ring.drain()] == [1]


def test_a_discarded_record_is_passed_over(loaded: Objects) -> None:
    ring, programs = loaded.maps["events"], loaded.programs
    programs["discard"].test_run(PACKET, repeat=3)
    programs["send"].test_run(PACKET)
    assert ring.read(timeout=1).number == 0
    assert ring.read(timeout=0.01) is None


def test_without_a_type_records_are_bytes() -> None:
    with objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE), "events")) as loaded:
        loaded.programs["send_short"].test_run(PACKET)
        assert loaded.maps["events"].read(timeout=1) == bytes.fromhex("01efcdab")


def test_a_closed_ring_says_so(loaded: Objects) -> None:
    ring = loaded.maps["events"]
    ring.close()
    for operation in (ring.read, ring.drain, ring.fill):
        with pytest.raises(ClosedError, match="map events"):
            operation()
    assert list(ring) == []
