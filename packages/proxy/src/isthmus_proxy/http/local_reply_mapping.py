"""Local replies as local_reply_config changes them: another status, body, format, more headers (Envoy's LocalReplyConfig)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import LocalReplies
from isthmus_proxy.route import header_edits


def mapped(
    replies: LocalReplies,
    reply: LocalReply,
    info: StreamInfo,
    *,
    grpc: bool,
    edit: Callable[[Headers], None] | None,
) -> tuple[LocalReply, bytes]:
    """(``reply`` as it is to be sent, its content type). ``edit`` is the route's, and comes before the mapper's headers."""
    headers = [*reply.headers]
    if edit is not None:
        edit(headers)
    info.status, info.response_code_details = reply.status, reply.details
    for flag in reply.flags:
        info.flag(flag)
    status, body, form = reply.status, reply.body, replies.format
    for mapper in replies.mappers:
        if mapper.matches(info):
            header_edits.apply(mapper.headers, headers, info)
            status = status if mapper.status is None else mapper.status
            body = body if mapper.body is None else mapper.body
            form = mapper.format or form
            break
    info.status, info.local_reply_body = status, body
    content_type = b"text/plain"
    if form is not None:
        body, content_type = form.render(info), form.content_type
        if grpc and content_type == b"application/json":
            body = body.rstrip(b"\n")
    return replace(reply, status=status, body=body, headers=tuple(headers)), content_type
