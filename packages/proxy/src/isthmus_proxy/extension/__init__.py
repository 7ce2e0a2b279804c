"""What packages that extend the proxy import. Everything else of isthmus_proxy may change with any release."""

from isthmus_proxy.extension.headers import Headers, RequestHeaders, ResponseHeaders
from isthmus_proxy.extension.http_filter import (
    ENTRY_POINT_GROUP,
    Counter,
    Exchange,
    FilterContext,
    HttpFilter,
    Reply,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "Counter",
    "Exchange",
    "FilterContext",
    "Headers",
    "HttpFilter",
    "Reply",
    "RequestHeaders",
    "ResponseHeaders",
]
