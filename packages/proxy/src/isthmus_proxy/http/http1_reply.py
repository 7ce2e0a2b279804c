"""Writes a local reply on an HTTP/1.1 connection: in place of an upstream's response, or to what is no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.http.local_answer import Edit
from isthmus_proxy.http.local_reply import LocalReply, is_grpc
from isthmus_proxy.http.local_reply_encoding import Encode, encode_reply
from isthmus_proxy.http.stream_info import StreamInfo

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection
    from isthmus_proxy.http.exchange import Exchange


def answer(
    connection: DownstreamConnection, exchange: Exchange, reply: LocalReply, edit: Edit | None, encode: Encode | None
) -> None:
    """Answer ``exchange`` with ``reply``; ``edit`` changes its headers, ``encode`` all that go out for it."""
    request = exchange.request
    if reply.close or not exchange.request_done or request.switches or request.version == b"HTTP/1.0":
        connection.closing = True
    content_type = next((value for name, value in request.headers if name == b"content-type"), None)
    _write(
        connection,
        exchange.manager,
        exchange.info,
        reply,
        head_only=request.method == b"HEAD",
        grpc=is_grpc(content_type),
        edit=edit,
        encode=encode,
    )
    exchange.replied(reply.details, reply.flags)


def reject(connection: DownstreamConnection, manager: HttpConnectionManager, reply: LocalReply) -> None:
    """Answer what is not (or no longer) a request with ``reply``, and log it."""
    now = manager.reactor.now
    info = StreamInfo(now, manager.clock.at(now))
    info.downstream_remote, info.downstream_local = connection.remote, connection.local
    info.downstream_direct_remote = connection.direct_remote
    info.connection_id = connection.connection_id
    info.response_code_details = reply.details
    for flag in reply.flags:
        info.flag(flag)
    connection.closing = True
    _write(connection, manager, info, reply, head_only=False, grpc=False, edit=None, encode=None)
    manager.log_rejected(info)


def _write(
    connection: DownstreamConnection,
    manager: HttpConnectionManager,
    info: StreamInfo,
    reply: LocalReply,
    *,
    head_only: bool,
    grpc: bool,
    edit: Edit | None,
    encode: Encode | None,
) -> None:
    connection.closing = connection.closing or manager.draining
    date = manager.clock.date(manager.reactor.now)
    head, body = encode_reply(
        manager.config,
        info,
        reply,
        date,
        head_only=head_only,
        grpc=grpc,
        edit=edit,
        close=connection.closing,
        encode=encode,
    )
    connection.write(head if manager.spelling is None else manager.spelling.respell(head))
    if body:
        info.bytes_sent += len(body)
        connection.write(body)
