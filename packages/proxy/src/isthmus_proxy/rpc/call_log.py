"""Access log entries of RPC requests: service = authority, method = path, headers as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.rpc import RpcProtocolError, Unreadable
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.rpc.plan import RpcPlan, request_head

if TYPE_CHECKING:
    from isthmus_proxy.rpc.burst import Burst
    from isthmus_proxy.rpc.requester import RpcRequester
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy


def call_info(
    proxy: RpcProxy, downstream: RpcRequester, plan: RpcPlan, frame: bytes | None, started: float
) -> StreamInfo:
    """What is known of a request whoever answered it."""
    info = StreamInfo(started, proxy.clock.at(started))
    info.protocol = proxy.codec.name
    info.request = plan.head
    info.connection_id = downstream.connection_id
    info.downstream_remote = info.downstream_direct_remote = downstream.remote
    info.downstream_local = downstream.local
    if frame is not None:
        info.bytes_received = len(frame)
        try:
            frames, _, _ = proxy.codec.split(frame, len(frame))
            info.request = request_head(proxy.codec.read(frame, frames[0]))
        except (RpcProtocolError, Unreadable, IndexError):
            info.request = plan.head
    if plan.decision is not None:
        info.route_name = plan.decision.route.name
        info.virtual_host = plan.decision.virtual_host.name
    return info


def answered_info(proxy: RpcProxy, burst: Burst, frame: bytes | None, status: int, size: int) -> StreamInfo:
    """The entry of a request that an endpoint answered."""
    call = burst.call
    if call is not None and call.info is not None:
        info = call.info
    else:
        started = call.started if call is not None else burst.started
        info = call_info(proxy, burst.downstream, burst.plan, frame, started)
    info.ended_at = proxy.reactor.now
    info.status = status
    info.bytes_sent = size
    info.attempts = call.attempts if call is not None else 1
    info.response_code_details = "via_upstream"
    pool = burst.upstream.pool
    info.upstream_cluster = pool.cluster.name
    info.upstream_host = pool.endpoint.name
    info.upstream = burst.upstream.end
    return info
