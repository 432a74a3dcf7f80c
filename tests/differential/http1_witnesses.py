"""Independent parsers of HTTP/1, each behind the same few lines: h11, llhttp (httptools), gunicorn's, waitress's.

None of them is the truth. They were written by different people, strict in different places, and that is what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import h11
import httptools

from differential.messages import Headers, Message, Reading, Witness, lowered

_ROOM = 1 << 20


class H11:
    """h11: strict, and follows a whole connection."""

    name = "h11"

    def requests(self, data: bytes) -> Reading:
        """Reads as a server; every request is answered at once, so that the next one may be read."""
        return _H11Reader(h11.Connection(h11.SERVER, max_incomplete_event_size=_ROOM), []).read(data)

    def responses(self, data: bytes, methods: list[bytes]) -> Reading:
        """Reads as a client that sent these requests, in this order."""
        return _H11Reader(h11.Connection(h11.CLIENT, max_incomplete_event_size=_ROOM), methods).read(data)


class _H11Reader:
    def __init__(self, connection: h11.Connection, methods: list[bytes]) -> None:
        self.connection = connection
        self.waiting = list(methods)
        self.messages: list[Message] = []
        self.ended = False

    def read(self, data: bytes) -> Reading:
        self._ask()
        self.connection.receive_data(data)
        reading = None
        try:
            while reading is None:
                reading = self._step(self.connection.next_event())
        except h11.RemoteProtocolError as error:
            if self.ended and not (self.messages and self.messages[-1].complete):
                return self._now()  # the input ends inside a message: incomplete is no refusal
            return self._now(error=str(error))
        return reading

    def _step(self, event: Any) -> Reading | None:
        match event:
            case h11.Request():
                self._begin(event, method=bytes(event.method), target=bytes(event.target))
            case h11.Response():
                self._begin(event, status=event.status_code)
            case h11.InformationalResponse():
                self._begin(event, status=event.status_code, complete=True)
            case h11.Data():
                self._set(body=self.messages[-1].body + bytes(event.data))
            case h11.EndOfMessage():
                self._set(trailers=_list(event.headers), complete=True)
            case h11.PAUSED:
                return self._paused()
            case h11.NEED_DATA:
                if self.ended:
                    return self._now()
                self.ended = True
                self.connection.receive_data(b"")
            case h11.ConnectionClosed():
                return self._now(closed=bool(self.connection.trailing_data[0]))
        return None

    def _paused(self) -> Reading | None:
        """Behind a message, with more bytes: the next exchange begins, if there may be one."""
        if self.connection.their_state in (h11.MIGHT_SWITCH_PROTOCOL, h11.SWITCHED_PROTOCOL):
            return self._now(switched=True)
        if self.connection.our_role is h11.SERVER:
            self.connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            self.connection.send(h11.EndOfMessage())
        if self.connection.our_state is not h11.DONE or self.connection.their_state is not h11.DONE:
            return self._now(closed=True)
        self.connection.start_next_cycle()
        self._ask()
        return None

    def _ask(self) -> None:
        if self.connection.our_role is h11.CLIENT and self.waiting:
            self.connection.send(
                h11.Request(method=self.waiting.pop(0), target=b"/", headers=[(b"host", b"x")])
            )
            self.connection.send(h11.EndOfMessage())

    def _begin(self, event: Any, **known: Any) -> None:
        self.messages.append(Message(version=_version(event), headers=_list(event.headers), **known))

    def _set(self, **changes: Any) -> None:
        self.messages[-1] = self.messages[-1]._replace(**changes)

    def _now(self, **said: Any) -> Reading:
        return Reading(tuple(self.messages), **said)


def _version(event: h11.Request | h11.Response | h11.InformationalResponse) -> int:
    return int(bytes(event.http_version).replace(b".", b""))


def _list(headers: Any) -> Headers:
    return lowered(list(headers))


@dataclass
class _Calls:
    """What llhttp calls back, gathered."""

    messages: list[Message] = field(default_factory=list)
    in_headers: bool = False
    parser: Any = None
    interim: bool = False

    def on_message_begin(self) -> None:
        self.messages.append(Message())
        self.in_headers = True

    def on_url(self, url: bytes) -> None:
        self._set(target=(self.messages[-1].target or b"") + url)

    def on_header(self, name: bytes, value: bytes | None) -> None:
        pair = (bytes(name).lower(), bytes(value or b"").rstrip(b" \t"))  # it leaves the white space
        if self.in_headers:
            self._set(headers=(*self.messages[-1].headers, pair))
        else:
            self._set(trailers=(*self.messages[-1].trailers, pair))

    def on_headers_complete(self) -> None:
        self.in_headers = False
        version = int(self.parser.get_http_version().replace(".", ""))
        if isinstance(self.parser, httptools.HttpRequestParser):
            self._set(method=self.parser.get_method(), version=version)
        else:
            self._set(status=self.parser.get_status_code(), version=version)

    def on_body(self, body: bytes) -> None:
        self._set(body=self.messages[-1].body + body)

    def on_message_complete(self) -> None:
        self._set(complete=True)

    def _set(self, **changes: Any) -> None:
        self.messages[-1] = self.messages[-1]._replace(**changes)


class Llhttp:
    """llhttp through httptools; with ``lenient``, as its users set it who cannot choose their peers."""

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self.name = "llhttp, lenient" if lenient else "llhttp"

    def requests(self, data: bytes) -> Reading:
        """Reads the bytes of a client."""
        return self._read(httptools.HttpRequestParser, data)

    def responses(self, data: bytes, methods: list[bytes]) -> Reading:
        """Reads the bytes of a server. llhttp does not know the requests: answers to HEAD are not for it."""
        assert b"HEAD" not in methods
        reading = self._read(httptools.HttpResponseParser, data)
        last = reading.messages[-1] if reading.messages else None
        if last and not reading.error and not last.values(b"content-length"):
            coding = b",".join(last.values(b"transfer-encoding")).rpartition(b",")[2].strip().lower()
            if coding != b"chunked":  # the stream's end is the message's: httptools has no call for it
                return reading._replace(messages=(*reading.messages[:-1], last._replace(complete=True)))
        return reading

    def _read(self, kind: Any, data: bytes) -> Reading:
        calls = _Calls()
        parser = calls.parser = kind(calls)
        if self.lenient:
            parser.set_dangerous_leniencies(
                lenient_headers=True,
                lenient_chunked_length=True,
                lenient_keep_alive=True,
                lenient_transfer_encoding=True,
                lenient_version=True,
                lenient_data_after_close=True,
                lenient_optional_lf_after_cr=True,
                lenient_optional_cr_before_lf=True,
                lenient_optional_crlf_after_chunk=True,
                lenient_spaces_after_chunk_size=True,
            )
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return Reading(_begun(calls.messages), switched=True)
        except httptools.HttpParserError as error:
            return Reading(_begun(calls.messages), error=str(error))
        return Reading(_begun(calls.messages))


def _begun(messages: list[Message]) -> tuple[Message, ...]:
    """Without a last message of which only the beginning was seen."""
    return tuple(m for m in messages if m.complete or m.method is not None or m.status is not None)


@cache
def _gunicorn_config() -> Any:
    from gunicorn.config import Config

    config = Config()
    config.set("header_map", "dangerous")  # names with an underscore are not its concern here
    return config


class Gunicorn:
    """gunicorn's parser, in Python."""

    name = "gunicorn"

    def requests(self, data: bytes) -> Reading:
        """Reads the bytes of a client."""
        from gunicorn.http.errors import NoMoreData, ParseException
        from gunicorn.http.parser import RequestParser

        messages: list[Message] = []
        reader = RequestParser(_gunicorn_config(), iter([data]), ("127.0.0.1", 1))
        try:
            for request in reader:
                messages.append(
                    Message(
                        request.method.encode("latin-1"),
                        request.uri.encode("latin-1"),
                        None,
                        request.version[0] * 10 + request.version[1],
                        tuple((n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in request.headers),
                    )
                )
                body = request.body.read()
                whole = not _short(request, body)
                messages[-1] = messages[-1]._replace(
                    body=body,
                    complete=whole,
                    trailers=tuple(
                        (n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in request.trailers
                    ),
                )
                if not whole:
                    return Reading(tuple(messages))
                if request.method == "CONNECT":
                    return Reading(tuple(messages), switched=True)
                if request.should_close():
                    return Reading(tuple(messages), closed=True)
        except (StopIteration, NoMoreData):
            return Reading(tuple(messages))
        except (ParseException, ValueError, UnicodeError, EOFError) as error:
            return Reading(tuple(messages), error=f"{type(error).__name__}: {error}")
        return Reading(tuple(messages))


def _short(request: Any, body: bytes) -> bool:
    """Whether the stream ended inside a body whose length was given."""
    lengths = [value for name, value in request.headers if name == "CONTENT-LENGTH"]
    return bool(lengths) and len(body) < int(lengths[0])


@cache
def _waitress_adjustments() -> Any:
    from waitress.adjustments import Adjustments

    return Adjustments(listen="127.0.0.1:0")


class Waitress:
    """waitress's parser, in Python."""

    name = "waitress"

    def requests(self, data: bytes) -> Reading:
        """Reads the bytes of a client."""
        from waitress.parser import HTTPRequestParser

        messages: list[Message] = []
        while data:
            request = HTTPRequestParser(_waitress_adjustments())
            try:
                while data and not request.completed:
                    data = data[request.received(data) :]
            except ValueError as error:  # of urllib, which it asks about targets
                return Reading(tuple(messages), error=str(error))
            if request.error:
                return Reading(tuple(messages), error=str(request.error.body))
            if request.empty:
                continue
            if not request.headers_finished:
                break
            messages.append(_waitress(request))
            if request.connection_close:
                return Reading(tuple(messages), closed=True)
            if not request.completed:
                break
        return Reading(tuple(messages))


def _waitress(request: Any) -> Message:
    return Message(
        request.command.encode("latin-1"),
        request.request_uri.encode("latin-1"),
        None,
        int(request.version.replace(".", "") or 9),  # none: HTTP/0.9
        tuple(
            (n.lower().replace("_", "-").encode(), v.encode("latin-1")) for n, v in request.headers.items()
        ),
        body=request.get_body_stream().read() if request.completed else b"",
        complete=request.completed,
    )


STRICT: tuple[Witness, ...] = (H11(), Llhttp())
ALL: tuple[Witness, ...] = (*STRICT, Gunicorn(), Waitress())
LENIENT: Witness = Llhttp(lenient=True)
