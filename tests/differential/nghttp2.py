"""nghttp2 as a witness, through its shared library: its HPACK inflater, and its sessions of HTTP/2.

The declarations are those of nghttp2.h (libnghttp2 1.52 and newer); only what is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cffi
import pytest

from differential.messages import Headers, Message, Reading

_DECLARATIONS = """
typedef struct { uint8_t *name; uint8_t *value; size_t namelen; size_t valuelen; uint8_t flags; } nghttp2_nv;
typedef struct { size_t length; int32_t stream_id; uint8_t type; uint8_t flags; uint8_t reserved; } nghttp2_frame_hd;
typedef struct { nghttp2_frame_hd hd; ...; } nghttp2_frame;
typedef struct nghttp2_session nghttp2_session;
typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
typedef struct nghttp2_option nghttp2_option;
typedef struct nghttp2_hd_inflater nghttp2_hd_inflater;
typedef struct nghttp2_hd_deflater nghttp2_hd_deflater;
typedef struct { int32_t settings_id; uint32_t value; } nghttp2_settings_entry;

const char *nghttp2_strerror(int code);

int nghttp2_hd_inflate_new(nghttp2_hd_inflater **inflater);
void nghttp2_hd_inflate_del(nghttp2_hd_inflater *inflater);
int nghttp2_hd_inflate_change_table_size(nghttp2_hd_inflater *inflater, size_t size);
ssize_t nghttp2_hd_inflate_hd2(nghttp2_hd_inflater *inflater, nghttp2_nv *nv, int *flags, const uint8_t *in, size_t inlen,
                               int in_final);
int nghttp2_hd_inflate_end_headers(nghttp2_hd_inflater *inflater);

int nghttp2_hd_deflate_new(nghttp2_hd_deflater **deflater, size_t max_dynamic_table_size);
void nghttp2_hd_deflate_del(nghttp2_hd_deflater *deflater);
int nghttp2_hd_deflate_change_table_size(nghttp2_hd_deflater *deflater, size_t size);
ssize_t nghttp2_hd_deflate_hd(nghttp2_hd_deflater *deflater, uint8_t *buf, size_t buflen, const nghttp2_nv *nva,
                              size_t nvlen);

int nghttp2_session_callbacks_new(nghttp2_session_callbacks **callbacks);
void nghttp2_session_callbacks_del(nghttp2_session_callbacks *callbacks);
void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *, void *);
void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks *, void *);
void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *, void *);
void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *, void *);
void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(nghttp2_session_callbacks *, void *);
int nghttp2_session_server_new(nghttp2_session **session, const nghttp2_session_callbacks *callbacks, void *user_data);
int nghttp2_session_client_new(nghttp2_session **session, const nghttp2_session_callbacks *callbacks, void *user_data);
void nghttp2_session_del(nghttp2_session *session);
int nghttp2_submit_settings(nghttp2_session *session, uint8_t flags, const nghttp2_settings_entry *iv, size_t niv);
int32_t nghttp2_submit_request(nghttp2_session *session, const void *pri_spec, const nghttp2_nv *nva, size_t nvlen,
                               const void *data_prd, void *stream_user_data);
ssize_t nghttp2_session_mem_recv(nghttp2_session *session, const uint8_t *in, size_t inlen);
ssize_t nghttp2_session_mem_send(nghttp2_session *session, const uint8_t **data_ptr);
int nghttp2_session_want_read(nghttp2_session *session);
"""
Settings = Sequence[dict[int, int]]
_EMIT, _FINAL = 2, 1
_DATA, _HEADERS, _RST_STREAM, _GOAWAY = 0, 1, 3, 7
_END_STREAM = 1


@cache
def library() -> tuple[Any, Any]:
    """The library and its declarations; a test that needs it is skipped, and says why, where it is absent."""
    ffi = cffi.FFI()
    ffi.cdef(_DECLARATIONS.replace(" ...; ", " "))
    try:
        return ffi, ffi.dlopen("libnghttp2.so.14")
    except OSError as error:
        pytest.skip(f"nghttp2 is not here: {error} (Debian: libnghttp2-14)")


class RefusedError(Exception):
    """nghttp2 refuses a header block, or a frame."""


def _vector(ffi: Any, headers: Headers) -> tuple[Any, list[Any]]:
    kept = [ffi.from_buffer("uint8_t[]", part) for header in headers for part in header]
    vector = ffi.new("nghttp2_nv[]", max(len(headers), 1))
    for i, (name, value) in enumerate(headers):
        vector[i].name, vector[i].value = kept[2 * i], kept[2 * i + 1]
        vector[i].namelen, vector[i].valuelen = len(name), len(value)
    return vector, kept


class Inflater:
    """HPACK, decoding: the table of one direction."""

    def __init__(self) -> None:
        self.ffi, self.lib = library()
        made = self.ffi.new("nghttp2_hd_inflater **")
        assert self.lib.nghttp2_hd_inflate_new(made) == 0
        self.inflater = self.ffi.gc(made[0], self.lib.nghttp2_hd_inflate_del)

    def allow(self, size: int) -> None:
        """The size of the table that SETTINGS allow from here on."""
        assert self.lib.nghttp2_hd_inflate_change_table_size(self.inflater, size) == 0

    def decode(self, block: bytes) -> Headers:
        """The headers of a block; RefusedError if it is none."""
        headers = []
        nv, flags = self.ffi.new("nghttp2_nv *"), self.ffi.new("int *")
        while True:
            taken = self.lib.nghttp2_hd_inflate_hd2(self.inflater, nv, flags, block, len(block), 1)
            if taken < 0:
                raise RefusedError(_reason(self.ffi, self.lib, taken))
            block = block[taken:]
            if flags[0] & _EMIT:
                name = bytes(self.ffi.buffer(nv.name, nv.namelen))
                headers.append((name, bytes(self.ffi.buffer(nv.value, nv.valuelen))))
            if flags[0] & _FINAL:
                self.lib.nghttp2_hd_inflate_end_headers(self.inflater)
                return tuple(headers)


class Deflater:
    """HPACK, encoding: the table of one direction."""

    def __init__(self, maximum: int = 4096) -> None:
        self.ffi, self.lib = library()
        made = self.ffi.new("nghttp2_hd_deflater **")
        assert self.lib.nghttp2_hd_deflate_new(made, maximum) == 0
        self.deflater = self.ffi.gc(made[0], self.lib.nghttp2_hd_deflate_del)

    def resize(self, size: int) -> None:
        """Changes the size of the table, as SETTINGS allow it; the next block tells of it."""
        assert self.lib.nghttp2_hd_deflate_change_table_size(self.deflater, size) == 0

    def encode(self, headers: Headers) -> bytes:
        """A header block."""
        vector, _kept = _vector(self.ffi, headers)
        room = 64 + sum(16 + len(name) + len(value) for name, value in headers)
        buffer = self.ffi.new("uint8_t[]", room)
        used = self.lib.nghttp2_hd_deflate_hd(self.deflater, buffer, room, vector, len(headers))
        assert used >= 0, _reason(self.ffi, self.lib, used)
        return bytes(self.ffi.buffer(buffer, used))


def _reason(ffi: Any, lib: Any, code: int) -> str:
    return ffi.string(lib.nghttp2_strerror(int(code))).decode()


class Nghttp2:
    """Sessions of nghttp2, each reading one direction."""

    name = "nghttp2"

    def requests(self, data: bytes, settings: Settings = ({},)) -> Reading:
        """Reads as a server that sent these SETTINGS, frame by frame."""
        return _Session(None, settings).read(data)

    def responses(self, data: bytes, methods: list[bytes], settings: Settings = ({},)) -> Reading:
        """Reads as a client that sent these SETTINGS, and these requests on the streams 1, 3, 5 …"""
        return _Session(methods, settings).read(data)


class _Session:
    def __init__(self, methods: list[bytes] | None, settings: Settings) -> None:
        self.ffi, self.lib = library()
        self.messages: dict[tuple[int, int], Message] = {}  # by stream, and how many final heads came on it
        self.headed: set[tuple[int, int]] = set()  # whose head is complete: further headers are trailers
        self.error: str | None = None
        self.kept = [
            self.ffi.callback("int(nghttp2_session *, const nghttp2_frame *, void *)", self._begin),
            self.ffi.callback(
                "int(nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t,"
                " uint8_t, void *)",
                self._header,
            ),
            self.ffi.callback(
                "int(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *)", self._data
            ),
            self.ffi.callback("int(nghttp2_session *, const nghttp2_frame *, void *)", self._frame),
            self.ffi.callback("int(nghttp2_session *, const nghttp2_frame *, int, void *)", self._invalid),
        ]
        callbacks = self.ffi.new("nghttp2_session_callbacks **")
        assert self.lib.nghttp2_session_callbacks_new(callbacks) == 0
        names = ("begin_headers", "header", "data_chunk_recv", "frame_recv", "invalid_frame_recv")
        for name, callback in zip(names, self.kept, strict=True):
            getattr(self.lib, f"nghttp2_session_callbacks_set_on_{name}_callback")(callbacks[0], callback)
        made = self.ffi.new("nghttp2_session **")
        new = self.lib.nghttp2_session_server_new if methods is None else self.lib.nghttp2_session_client_new
        assert new(made, callbacks[0], self.ffi.NULL) == 0
        self.lib.nghttp2_session_callbacks_del(callbacks[0])
        self.session = self.ffi.gc(made[0], self.lib.nghttp2_session_del)
        for frame in settings:
            entries = self.ffi.new("nghttp2_settings_entry[]", max(len(frame), 1))
            for entry, (number, value) in zip(entries, frame.items(), strict=False):
                entry.settings_id, entry.value = number, value
            self.lib.nghttp2_submit_settings(self.session, 0, entries, len(frame))
        for method in methods or []:
            vector, _kept = _vector(
                self.ffi,
                ((b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")),
            )
            self.lib.nghttp2_submit_request(
                self.session, self.ffi.NULL, vector, 4, self.ffi.NULL, self.ffi.NULL
            )
        self._send()

    def read(self, data: bytes) -> Reading:
        taken = self.lib.nghttp2_session_mem_recv(self.session, data, len(data))
        if taken < 0:
            self.error = self.error or _reason(self.ffi, self.lib, taken)
        self._send()
        return Reading(tuple(self.messages.values()), error=self.error)

    def _send(self) -> None:
        data = self.ffi.new("const uint8_t **")
        while (size := self.lib.nghttp2_session_mem_send(self.session, data)) > 0:
            frame = bytes(self.ffi.buffer(data[0], size))
            if len(frame) >= 17 and frame[3] == _GOAWAY and int.from_bytes(frame[13:17]):
                self.error = self.error or f"GOAWAY {int.from_bytes(frame[13:17])}"

    def _last(self, stream: int) -> tuple[int, int] | None:
        return max((key for key in self.messages if key[0] == stream), default=None)

    def _begin(self, _session: Any, frame: Any, _data: Any) -> int:
        stream = frame.hd.stream_id
        last = self._last(stream)
        if last is None or (self.messages[last].status or 200) < 200:
            self.messages[stream, last[1] + 1 if last else 0] = Message(version=20, stream=stream)
        return 0

    def _header(
        self, _session: Any, frame: Any, name: Any, n: int, value: Any, v: int, _flags: int, _data: Any
    ) -> int:
        pair = (bytes(self.ffi.buffer(name, n)), bytes(self.ffi.buffer(value, v)))
        key = self._last(frame.hd.stream_id)
        assert key is not None
        message = self.messages[key]
        if key in self.headed:
            self.messages[key] = message._replace(trailers=(*message.trailers, pair))
        else:
            self.messages[key] = with_header(message, *pair)
        return 0

    def _data(self, _session: Any, _flags: int, stream: int, data: Any, size: int, _user: Any) -> int:
        key = self._last(stream)
        assert key is not None
        message = self.messages[key]
        self.messages[key] = message._replace(body=message.body + bytes(self.ffi.buffer(data, size)))
        return 0

    def _frame(self, _session: Any, frame: Any, _data: Any) -> int:
        key = self._last(frame.hd.stream_id)
        if key is None or frame.hd.type not in (_DATA, _HEADERS):
            return 0
        message = self.messages[key]
        self.headed.add(key)
        ends = bool(frame.hd.flags & _END_STREAM) or (message.status or 200) < 200
        self.messages[key] = message._replace(complete=ends)
        return 0

    def _invalid(self, _session: Any, frame: Any, code: int, _data: Any) -> int:
        self.error = self.error or f"frame {frame.hd.type}: {_reason(self.ffi, self.lib, code)}"
        return 0


def with_header(message: Message, name: bytes, value: bytes) -> Message:
    """The message with one more header of its head: pseudo-headers go to where they belong."""
    match name:
        case b":method":
            return message._replace(method=value)
        case b":path":
            return message._replace(target=value)
        case b":status":
            return message._replace(status=int(value))
        case _:
            return message._replace(headers=(*message.headers, (name, value)))
