"""Replies of filters in Python as the proxy's, and back."""

from __future__ import annotations

from dataclasses import replace

from isthmus_proxy.extension.http_filter import Reply
from isthmus_proxy.http.local_reply import LocalReply

_CONTENT = (b"content-type", b"content-length")

FAILURES = {
    "python_filter_error": LocalReply(500, "python_filter_error"),
    "python_filter_timeout": LocalReply(500, "python_filter_timeout"),
    "python_filter_overflow": LocalReply(503, "python_filter_overflow"),
}
"""What a request is answered where a hook failed and ``error_policy`` is FAIL_CLOSED, by the details of the failure."""


def from_reply(reply: Reply, base: LocalReply | None = None) -> LocalReply:
    """``reply`` as the proxy's, with the flags of ``base`` if there is one. Its length is the proxy's business."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    kept = tuple([field for field in headers if field[0] not in _CONTENT])
    if base is None:
        return LocalReply(
            reply.status,
            reply.details,
            reply.body,
            headers=kept,
            grpc_status=reply.grpc_status,
            content_type=content_type,
        )
    return replace(
        base,
        status=reply.status,
        details=reply.details,
        body=reply.body,
        headers=kept,
        grpc_status=reply.grpc_status,
        content_type=content_type,
    )


def to_reply(reply: LocalReply) -> Reply:
    """The proxy's ``reply`` as a hook sees it."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers]
    if reply.content_type:
        headers.append(("content-type", reply.content_type.decode("latin-1")))
    return Reply(reply.status, reply.body, tuple(headers), reply.details, reply.grpc_status)
