"""What the grammar of RFC 9112 allows is read as h11 and llhttp read it: heads, headers, bodies, trailers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from differential.http1_strategies import pipelines, responses
from differential.http1_witnesses import STRICT
from differential.messages import Headers, Message, Reading
from differential.ours import Ours

OURS = Ours()
BOUNDED = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def plain(message: Message) -> Message:
    """Without what differs on purpose: ours keeps no secret, and h11 gives Transfer-Encoding in lower case."""
    return message._replace(stream=0, headers=_plain(message.headers), trailers=_plain(message.trailers))


def _plain(headers: Headers) -> Headers:
    return tuple(
        (name, b"" if name == b"authorization" else value.lower() if name == b"transfer-encoding" else value)
        for name, value in headers
    )


def messages(reading: Reading) -> list[Message]:
    assert reading.error is None
    return [plain(message) for message in reading.messages]


@BOUNDED
@given(pipelines)
def test_requests_of_the_grammar_are_read_as_by_h11_and_llhttp(data: bytes) -> None:
    ours = messages(OURS.requests(data))
    assert all(message.complete for message in ours)
    for witness in STRICT:
        assert messages(witness.requests(data)) == ours, witness.name


@BOUNDED
@given(st.lists(responses(), min_size=1, max_size=3))
def test_responses_of_the_grammar_are_read_as_by_h11_and_llhttp(found: list[tuple[bytes, bytes]]) -> None:
    data, methods = b"".join(response for response, _ in found), [method for _, method in found]
    ours = messages(OURS.responses(data, methods))
    assert sum((message.status or 0) >= 200 for message in ours) == len(found)
    for witness in STRICT:
        if witness.name == "h11" or b"HEAD" not in methods:
            assert messages(witness.responses(data, methods)) == ours, witness.name
