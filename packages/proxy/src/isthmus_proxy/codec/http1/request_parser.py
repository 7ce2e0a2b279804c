"""Requests of one connection, one at a time: the next is not looked at before the caller asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.codec.http1.body import BodyDecoder, ChunkedDecoder, LengthDecoder
from isthmus_proxy.codec.http1.events import END_OF_MESSAGE, EndOfMessage, Event
from isthmus_proxy.codec.http1.framing import CHUNKED, NO_BODY
from isthmus_proxy.codec.http1.head_buffer import HeadBuffer
from isthmus_proxy.codec.http1.limits import REQUEST_LIMITS, HeadLimits
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.request import ParsedRequest, parse_request_head
from isthmus_proxy.errors import ProtocolError

_HEAD, _BODY, _DONE = range(3)


class RequestParser:
    """``receive`` gives the events of the current request; after its end, ``next_request`` those of the pipelined one.

    Bytes that come in after the end are kept (``unread`` of them): the caller should stop reading while there are any. A
    ProtocolError is final: the caller answers it and closes. It is raised, or left in ``error`` where events came before it.
    """

    __slots__ = ("_accept_http_10", "_decoder", "_heads", "_limits", "_memo", "_rest", "_state", "error")

    def __init__(
        self,
        limits: HeadLimits = REQUEST_LIMITS,
        memo: HeadMemo[ParsedRequest] | None = None,
        *,
        accept_http_10: bool = False,
    ) -> None:
        self._limits = limits
        self._memo = memo if memo is not None else HeadMemo[ParsedRequest]()
        self._accept_http_10 = accept_http_10
        self._heads = HeadBuffer(limits, 431)
        self._decoder: BodyDecoder | None = None
        self._rest = b""
        self._state = _HEAD
        self.error: ProtocolError | None = None

    @property
    def started(self) -> bool:
        """Whether part of a head is there that is not yet complete."""
        return len(self._heads) > 0

    @property
    def unread(self) -> int:
        """How many bytes wait behind the current request."""
        return len(self._rest)

    @property
    def done(self) -> bool:
        """Whether the current request is complete."""
        return self._state == _DONE

    def receive(self, data: bytes) -> Sequence[Event]:
        """Take bytes of the peer."""
        if self._state == _HEAD:
            if not len(self._heads):
                # A memo key is one head and nothing else, so a hit means that ``data`` is exactly that.
                request = self._memo.get(data)
                if request is not None and request.framing == NO_BODY:
                    self._state = _DONE
                    return (request,)
            return self._head(data)
        if self._state == _BODY:
            return self._body(data, 0, [])
        self._rest += data
        return ()

    def next_request(self) -> Sequence[Event]:
        """Go on with the request after the finished one: its events as far as they are there already."""
        self._state = _HEAD
        if not self._rest:
            return ()
        rest, self._rest = self._rest, b""
        return self.receive(rest)

    def take_unread(self) -> bytes:
        """Give up the bytes behind the current request: they are not HTTP/1 (after an upgrade)."""
        rest, self._rest = self._rest, b""
        return rest

    def _head(self, data: bytes) -> Sequence[Event]:
        found = self._heads.feed(data)
        if found is None:
            return ()
        raw, rest = found
        request = self._memo.get(raw)
        if request is None:
            request = parse_request_head(raw, self._limits, accept_http_10=self._accept_http_10)
            self._memo.put(raw, request)
        if request.framing == NO_BODY:
            self._state, self._rest = _DONE, rest
            return (request,)
        self._decoder = ChunkedDecoder(self._limits) if request.framing == CHUNKED else LengthDecoder(request.length)
        self._state = _BODY
        return self._body(rest, 0, [request])

    def _body(self, data: bytes, start: int, events: list[Event]) -> Sequence[Event]:
        decoder = self._decoder
        if decoder is None or not data:
            return events
        try:
            payload, end = decoder.feed(data, start)
        except ProtocolError as error:
            self.error = error
            return events
        if payload:
            events.append(payload)
        if decoder.done:
            events.append(EndOfMessage(decoder.trailers) if decoder.trailers else END_OF_MESSAGE)
            self._decoder, self._state, self._rest = None, _DONE, data[end:]
        return events
