"""What a parser gives: a head, then body bytes, then the end. A head whose framing is NO_BODY is its own end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse


@dataclass(frozen=True, slots=True)
class EndOfMessage:
    """The body is complete; ``trailers`` are the fields after a chunked body (RFC 9112, 7.1.2)."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()


END_OF_MESSAGE = EndOfMessage()
"""The end of a body without trailers."""

Event: TypeAlias = ParsedRequest | ParsedResponse | bytes | EndOfMessage
