"""HTTP/1.1 (RFC 9112): strict parsers and canonical serialisers.

Whatever two readers could understand differently is refused, never repaired: the proxy forwards only what it wrote itself.
"""

from isthmus_proxy.codec.http1.events import END_OF_MESSAGE, EndOfMessage, Event
from isthmus_proxy.codec.http1.framing import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.limits import HeadLimits
from isthmus_proxy.codec.http1.request import ParsedRequest, parse_request_head
from isthmus_proxy.codec.http1.request_parser import RequestParser
from isthmus_proxy.codec.http1.response import ParsedResponse, parse_response_head
from isthmus_proxy.codec.http1.response_parser import ResponseParser
from isthmus_proxy.codec.http1.serialise import LAST_CHUNK, chunk, request_head, response_head, status_line

__all__ = [
    "CHUNKED",
    "END_OF_MESSAGE",
    "LAST_CHUNK",
    "LENGTH",
    "NO_BODY",
    "UNTIL_CLOSE",
    "EndOfMessage",
    "Event",
    "HeadLimits",
    "ParsedRequest",
    "ParsedResponse",
    "RequestParser",
    "ResponseParser",
    "chunk",
    "parse_request_head",
    "parse_response_head",
    "request_head",
    "response_head",
    "status_line",
]
