"""Hypothesis strategies for HTTP/2: conversations of independent implementations, and broken frames."""

from __future__ import annotations

import h2.settings
from hypothesis import strategies as st

from differential.http2_conversations import Conversation, Exchange, talk

SettingCodes = h2.settings.SettingCodes

_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789-"
# cookie is not among them: h2 joins cookies, and moves them behind the other headers
names = st.one_of(
    st.lists(st.sampled_from(_NAME), min_size=1, max_size=10).map(lambda n: b"x-" + bytes(n)),
    st.sampled_from([b"user-agent", b"content-type", b"accept", b"traceparent", b"authorization"]),
)
values = st.one_of(
    st.lists(st.integers(0x21, 0x7E), max_size=20).map(bytes),
    st.sampled_from([b"text/plain", b"a b", b"\xc3\xa9", b"gzip, deflate"]),
    st.integers(100, 400).map(lambda n: b"v" * n),
)
headers = st.lists(st.tuples(names, values), max_size=5).map(tuple)
bodies = st.lists(st.binary(max_size=60), max_size=3).map(tuple)

exchanges = st.builds(
    Exchange,
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"]),
    path=st.lists(st.sampled_from(b"/abc?=&%20"), max_size=20).map(lambda p: b"/" + bytes(p)),
    headers=headers,
    body=bodies,
    trailers=st.one_of(st.just(()), headers),
    interim=st.one_of(st.none(), headers),
    status=st.sampled_from([200, 201, 404, 500]),
    answer_headers=headers,
    answer=bodies,
    answer_trailers=st.one_of(st.just(()), headers),
    padding=st.sampled_from([0, 0, 1, 200]),
    reset=st.sampled_from([None, None, None, 8]),
)
settings = st.fixed_dictionaries(
    {},
    optional={
        SettingCodes.HEADER_TABLE_SIZE: st.sampled_from([0, 64, 200, 4096]),
        SettingCodes.MAX_FRAME_SIZE: st.sampled_from([16384, 20000]),
        SettingCodes.INITIAL_WINDOW_SIZE: st.just(100_000),
    },
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Conversation, tuple[dict[int, int], dict[int, int]]]:
    """A conversation, and the settings of client and server that went on behind their first, empty ones."""
    chosen = draw(settings), draw(settings)
    found = talk(
        draw(st.lists(exchanges, min_size=1, max_size=4)),
        nghttp2=draw(st.booleans()),
        settings=chosen,
        together=draw(st.integers(1, 3)),
    )
    return found, chosen
