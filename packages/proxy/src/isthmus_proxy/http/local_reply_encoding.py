"""The bytes of a local reply: what it says, mapped by local_reply_config, behind it what every response carries."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.codec.http1.serialise import LAST_CHUNK, chunk, response_head
from isthmus_proxy.http.forwarded import append_via
from isthmus_proxy.http.local_reply import LocalReply, headers_of
from isthmus_proxy.http.local_reply_mapping import mapped
from isthmus_proxy.http.message import Headers, ResponseHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import HttpConnectionManagerConfig

Encode = Callable[[int, Headers, bytes], bytes]
"""Changes the headers of a reply with the status and the body; answers the body that goes out."""


def encode_reply(
    config: HttpConnectionManagerConfig,
    info: StreamInfo,
    reply: LocalReply,
    date: bytes,
    *,
    head_only: bool,
    grpc: bool,
    edit: Callable[[Headers], None] | None,
    close: bool,
    encode: Encode | None = None,
) -> tuple[bytes, bytes]:
    """(head, body) of ``reply`` as sent, which ``info`` is told of. ``edit`` is the route's; ``close`` ends the connection.

    ``encode`` is what HTTP filters do to it.
    """
    head, body = reply_head(config, info, reply, date, grpc=grpc, edit=edit, encode=encode)
    headers, status = head.headers, head.status
    if close:
        headers.append((b"connection", b"close"))
    if not body and status not in (204, 304):
        headers.append((b"transfer-encoding", b"chunked") if head_only else (b"content-length", b"0"))
    elif body and head.version != b"HTTP/1.0" and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"transfer-encoding", b"chunked"))  # a filter has changed the body
        framed = chunk(body) + LAST_CHUNK
        info.bytes_sent -= len(framed) - len(body)  # framing does not count
        body = framed
    return response_head(status, headers, head.version), b"" if head_only else body


def reply_head(
    config: HttpConnectionManagerConfig,
    info: StreamInfo,
    reply: LocalReply,
    date: bytes,
    *,
    grpc: bool,
    edit: Callable[[Headers], None] | None,
    encode: Encode | None = None,
) -> tuple[ResponseHead, bytes]:
    """(head, body) of ``reply`` in any version of HTTP, which ``info`` is told of."""
    content_type = b"text/plain"
    info.local_reply_body = reply.body
    info.response_code_details = reply.details
    if config.local_replies is not None:
        reply, content_type = mapped(config.local_replies, reply, info, grpc=grpc, edit=edit)
        edit = _as_is
    status, headers, body = headers_of(reply, grpc=grpc, edit=edit, content_type=content_type)
    if encode is not None:
        body = encode(status, headers, body)
    headers.append((b"date", date))
    if config.server_header_transformation != "PASS_THROUGH":
        headers.append((b"server", config.server_name))
    if config.always_set_request_id_in_response and info.request_id:
        headers.append((b"x-request-id", info.request_id))
    if config.via:
        append_via(headers, config.via)
    version = info.request.version if info.request is not None else b"HTTP/1.1"
    info.status = status
    info.response = head = ResponseHead(status, headers, version)
    return head, body


def _as_is(headers: Headers) -> None:
    """What is left to edit in a mapped reply: nothing."""
