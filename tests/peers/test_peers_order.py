"""What a relay recorded of multiplexed connections, without the times: two files tell the same of each stream."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest

from ebpfmesh import l7
from ebpfmesh.l7 import grpc as ours
from ebpfmesh.l7 import http2
from ebpfmesh.l7.events import joined
from ebpfmesh.l7.recording import Recording as File
from ebpfmesh.l7.recording import replay
from peers.relay import Recording, Relay
from peers.servers import nghttpd, program
from peers.test_peers_grpc import peers
from peers.test_peers_http2 import run

Streams = dict[tuple[int, int], list[l7.Event]]
CONFIG = l7.Config(all_headers=True, text_limit=65536, block_limit=65536)


def by_stream(events: Iterable[l7.Event]) -> Streams:
    """What each direction of each stream tells."""
    found: Streams = defaultdict(list)
    for event in events:
        found[event.direction, getattr(event, "stream", 0)].append(event)
    return {key: joined(told) for key, told in found.items()}


def as_recorded(protocol: str, recording: Recording) -> Streams:
    """The pieces in the order in which they passed."""
    connection = l7.parser(protocol).connection(CONFIG)
    events: list[l7.Event] = []
    for direction, data in recording.pieces:
        events += connection.end(direction) if data is None else connection.feed(direction, data)
    return by_stream(events)


def without_times(protocol: str, recording: Recording) -> Streams:
    """Each direction by itself, as two files are decoded; whatever a response belongs to has come before it."""
    files = [File(side, io.BytesIO(recording.data(side)).read) for side in l7.Direction]
    events = list(replay(l7.parser(protocol).connection(CONFIG), files))
    opened = set()
    for event in events:
        stream = getattr(event, "stream", 0)
        if event.direction == l7.REQUEST:
            opened.add(stream)
        elif stream:
            assert stream in opened
    assert not [event for event in events if isinstance(event, l7.Undecodable)]
    return by_stream(events)


def test_h2load_with_a_hundred_streams_at_a_time(tmp_path: Path) -> None:
    with nghttpd(tmp_path) as port, Relay(("127.0.0.1", port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        run(program("h2load", "nghttp2-client"), "-n600", "-c1", "-m100", at + "/large", at + "/hello")
    [recording] = [one for one in relay.recordings if one.data(0)]
    told = without_times("http2", recording)
    assert told == as_recorded("http2", recording)
    assert sum(isinstance(event, http2.Response) for events in told.values() for event in events) == 600


def test_calls_of_grpc_at_the_same_time_and_many_that_are_cancelled() -> None:
    with peers() as (relay, channel, _):
        unary = channel.unary_unary("/test.Echo/Unary")
        wait = channel.unary_stream("/test.Echo/Wait")
        for n in range(150):  # more than are followed at a time
            call = wait(b"a")
            assert next(call) == b"begun"
            call.cancel()
            if n % 10 == 0:
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary("/test.Echo/Fail")(b"a")
        futures = [unary.future(b"%d" % n * 5000) for n in range(60)]
        answers = [future.result(20) for future in futures]
    [recording] = relay.recordings
    told, recorded = without_times("grpc", recording), as_recorded("grpc", recording)
    assert told.keys() == recorded.keys()
    events = [event for each in told.values() for event in each]
    assert len([event for event in events if isinstance(event, ours.Call)]) == 150 + 15 + 60
    assert len([event for event in events if isinstance(event, http2.Reset) and not event.direction]) == 150
    assert len([e for e in events if isinstance(e, ours.Status) and e.code == 0]) == len(answers)
    for key, each in told.items():
        if key[1]:  # a flood of resets is counted per frame of its direction, in any order of the two
            assert each == recorded[key]
