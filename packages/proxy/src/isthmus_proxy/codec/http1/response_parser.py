"""Responses of one connection, each to a request whose method the caller names."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.codec.http1.body import BodyDecoder, ChunkedDecoder, CloseDecoder, LengthDecoder
from isthmus_proxy.codec.http1.events import END_OF_MESSAGE, EndOfMessage, Event
from isthmus_proxy.codec.http1.framing import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.grammar import bad_request
from isthmus_proxy.codec.http1.head_buffer import HeadBuffer
from isthmus_proxy.codec.http1.limits import RESPONSE_LIMITS, HeadLimits
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.response import ParsedResponse, parse_response_head

_IDLE, _HEAD, _BODY, _DONE = range(4)


class ResponseParser:
    """``expect`` a response, then ``receive`` bytes; ``eof`` when the peer closed. A ProtocolError is final.

    Interim responses (1xx) come as heads of their own before the final one. After the head of a final response,
    ``bodyless`` tells whether that head was the whole message, ``keep_alive`` whether the peer takes another request after
    it (not if bytes follow that belong to no response), and ``switching`` whether the connection now speaks another
    protocol (101, or 2xx to CONNECT), whose first bytes follow the head.
    """

    __slots__ = (
        "_decoder",
        "_heads",
        "_interim",
        "_limits",
        "_memo",
        "_method",
        "_state",
        "_upgrade",
        "bodyless",
        "keep_alive",
        "switching",
    )

    def __init__(self, limits: HeadLimits = RESPONSE_LIMITS, memo: HeadMemo[ParsedResponse] | None = None) -> None:
        self._limits = limits
        self._memo = memo if memo is not None else HeadMemo[ParsedResponse]()
        self._heads = HeadBuffer(limits, 502)
        self._decoder: BodyDecoder | None = None
        self._method = b""
        self._interim = False
        self._upgrade = False
        self._state = _IDLE
        self.bodyless = False
        self.keep_alive = False
        self.switching = False

    @property
    def started(self) -> bool:
        """Whether any byte of the response has come in."""
        return self._state != _HEAD or self._interim or len(self._heads) > 0

    @property
    def in_body(self) -> bool:
        """Whether the head is complete and the body is not."""
        return self._state == _BODY

    @property
    def done(self) -> bool:
        """Whether the response is complete."""
        return self._state == _DONE

    @property
    def left(self) -> int:
        """How many bytes of the body are still to come, 0 if that is not known."""
        decoder = self._decoder
        return decoder.remaining if isinstance(decoder, LengthDecoder) else 0

    def passed(self, size: int) -> None:
        """So many bytes of the body, no more than are ``left``, went past the parser."""
        decoder = self._decoder
        if isinstance(decoder, LengthDecoder):
            decoder.remaining -= size

    def body_passed(self) -> Sequence[Event]:
        """The last of the body's bytes went past the parser."""
        self._decoder, self._state = None, _DONE
        return (END_OF_MESSAGE,)

    def expect(self, method: bytes, *, upgrade: bool = False) -> None:
        """A request of ``method`` was sent; its response is the next message. ``upgrade``: it asked to switch protocols."""
        self._method = method
        self._upgrade = upgrade
        self._state = _HEAD
        self._interim = False
        self.bodyless = False

    def receive(self, data: bytes) -> Sequence[Event]:
        """Take bytes of the peer. Bytes that belong to no response are an error."""
        if self._state == _HEAD:
            if not len(self._heads):
                end = data.find(b"\r\n\r\n") + 4
                response = self._memo.get(data[:end]) if end > 3 else None
                if response is not None:
                    return self._message(response, data, end)
            return self._head(data)
        if self._state == _BODY:
            return self._body(data, 0, [])
        raise bad_request("bytes after the end of a response")

    def eof(self) -> Sequence[Event]:
        """The peer closed: the end of a body that lasts until then, else an error."""
        if self._state == _BODY and isinstance(self._decoder, CloseDecoder):
            self._decoder, self._state = None, _DONE
            return (END_OF_MESSAGE,)
        raise bad_request("connection closed within a response")

    def _head(self, data: bytes) -> Sequence[Event]:
        found = self._heads.feed(data)
        if found is None:
            return ()
        raw, rest = found
        response = self._memo.get(raw)
        if response is None:
            response = parse_response_head(raw, self._limits)
            self._memo.put(raw, response)
        return self._message(response, rest, 0)

    def _message(self, response: ParsedResponse, data: bytes, start: int) -> Sequence[Event]:
        """The events of a response whose head is known and whose body begins at ``data[start]``."""
        status, framing = response.status, response.framing
        if status < 200 and status != 101:
            self._interim = True
            return [response, *(self.receive(data[start:]) if start < len(data) else ())]
        if status == 101 and not self._upgrade:
            raise bad_request("protocols switched unasked")
        if self._method == b"CONNECT" and status < 300:
            return self._bodyless(response, data, start)
        self.keep_alive = response.keep_alive and framing != UNTIL_CLOSE
        if framing == LENGTH and self._method != b"HEAD" and len(data) - start == response.length:
            self._state = _DONE
            return (response, data[start:] if start else data, END_OF_MESSAGE)
        if framing == NO_BODY or self._method == b"HEAD" or status == 101:
            return self._bodyless(response, data, start)
        self._decoder = self._decoder_for(framing, response.length)
        self._state = _BODY
        return self._body(data, start, [response])

    def _bodyless(self, response: ParsedResponse, data: bytes, start: int) -> Sequence[Event]:
        self.bodyless = True
        self._state = _DONE
        self.keep_alive = response.keep_alive
        self.switching = response.status == 101 or (self._method == b"CONNECT" and response.status < 300)
        if self.switching and start < len(data):
            return (response, data[start:])
        self.keep_alive &= start == len(data)
        return (response,)

    def _decoder_for(self, framing: int, length: int) -> BodyDecoder:
        if framing == CHUNKED:
            return ChunkedDecoder(self._limits)
        return CloseDecoder() if framing == UNTIL_CLOSE else LengthDecoder(length)

    def _body(self, data: bytes, start: int, events: list[Event]) -> Sequence[Event]:
        decoder = self._decoder
        if decoder is None or start >= len(data):
            return events
        payload, end = decoder.feed(data, start)
        if payload:
            events.append(payload)
        if decoder.done:
            self.keep_alive &= end == len(data)
            events.append(EndOfMessage(decoder.trailers) if decoder.trailers else END_OF_MESSAGE)
            self._decoder, self._state = None, _DONE
        return events
