"""Spans of remote calls: whose children they are, what the endpoint is told, and what they say of how a call ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.codec.dubbo import testing as dubbo
from isthmus_proxy.codec.dubbo.codec import DubboCodec
from isthmus_proxy.http.filters.fault import FaultAbort, FaultConfig
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import HttpFilterConfig, RdsReference, RpcProxyConfig
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.rpc.testing import CODEC, HEADER, Frames, answer, rpc
from isthmus_proxy.rpc.trace_context import RPC_ID, TRACE_ID, begin_sofa, sofa_parent, trace_identity
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Peer, Proxy, eventually, forward
from isthmus_proxy.trace.context import SpanContext
from isthmus_proxy.trace.model import Collector, TracingConfig
from isthmus_proxy.trace.span import FinishedSpan
from isthmus_proxy.trace.tracer import Tracer

SOFA_ID = b"0a0fe91d1450263041281100112345"
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACING = TracingConfig(Collector("otlp_http", "c", "c", "/"), egress=True)


def head(**headers: bytes) -> RequestHead:
    return RequestHead(b"POST", b"/m", b"s", [(name.encode(), value) for name, value in headers.items()], b"")


def sofa(trace_id: bytes, rpc_id: bytes = b"0.1") -> RequestHead:
    return RequestHead(b"POST", b"/m", b"s", [(TRACE_ID.lower(), trace_id), (RPC_ID.lower(), rpc_id)], b"")


def test_identifiers_of_sofa_that_are_digits_stay_readable() -> None:
    found = sofa_parent(sofa(SOFA_ID))
    assert found is not None
    assert found.trace_id == b"00" + SOFA_ID
    assert found.sampled is None


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=20), st.binary(max_size=20))
def test_all_proxies_on_the_way_see_the_same_trace_and_different_spans(
    trace: bytes, first: bytes, second: bytes
) -> None:
    one, other = sofa_parent(sofa(trace, first)), sofa_parent(sofa(trace, second))
    assert one is not None
    assert other is not None
    assert one.trace_id == other.trace_id
    assert len(one.trace_id) == 32
    assert int(one.trace_id, 16)
    assert (one.span_id == other.span_id) == ((first or b"0") == (second or b"0"))
    identity = trace_identity(sofa(trace, first))
    assert identity == trace_identity(sofa(trace, second))
    assert identity is not None
    assert len(identity) == 36
    int(identity[:8], 16)


def test_headers_of_w3c_count_before_those_of_sofa() -> None:
    both = sofa(SOFA_ID)
    both.headers.append((b"traceparent", PARENT))
    assert sofa_parent(both) is None
    assert sofa_parent(head()) is None
    assert trace_identity(head()) is None
    assert trace_identity(head(traceparent=PARENT)) == trace_identity(head(traceparent=PARENT))
    assert trace_identity(RequestHead(b"", b"", b"", [(b"x-request-id", b"mine")])) == b"mine"


def test_a_trace_of_sofa_that_goes_on_is_not_begun_anew() -> None:
    headers = [(TRACE_ID, SOFA_ID)]
    begin_sofa(SpanContext(b"1" * 32, b"2" * 16, True), headers)
    assert headers == [(TRACE_ID, SOFA_ID)]


class Seen:
    """An endpoint that keeps the headers it gets, and the spans that were reported."""

    def __init__(self, proxy: Proxy) -> None:
        self.headers: list[dict[bytes, bytes]] = []
        self.spans: list[FinishedSpan] = []
        self._proxy = proxy

    def tracer(self, config: TracingConfig, scope: StatsScope) -> Tracer:
        bits: Callable[[int], int] = self._proxy.random.getrandbits
        return Tracer(
            config, scope, self._proxy.runtime, self.spans.append, lambda: None,
            node_id="n", zone="", random=self._proxy.random.random, getrandbits=bits,
        )  # fmt: skip

    async def __call__(self, peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            self.headers.append(dict(CODEC.read(data, frame).headers))
            await peer.send(answer(frame, data, status=self.headers[-1].get(b"fail", b"\0")[0]))


async def traced(proxy: Proxy, **options: Any) -> tuple[Frames, Seen]:
    seen = Seen(proxy)
    proxy.surroundings.tracers = seen.tracer
    proxy.cluster("c", (await proxy.origin(seen)).port)
    proxy.route(forward())
    rpc(proxy, tracing=TRACING, **options)
    return Frames(await proxy.client()), seen


@pytest.mark.trio
async def test_a_call_without_a_context_begins_a_trace_that_both_worlds_know(proxy: Proxy) -> None:
    client, seen = await traced(proxy)
    await client.peer.send(request(1, HEADER, b"x"))
    assert await client.response() == (1, 0, b"x")
    await eventually(lambda: len(seen.spans) == 1)
    span, headers = seen.spans[0], seen.headers[0]
    assert headers[b"traceparent"].split(b"-")[1:3] == [span.context.trace_id, span.context.span_id]
    assert b"tracestate" not in headers
    assert headers[TRACE_ID] == span.context.trace_id
    assert headers[RPC_ID] == b"0"
    assert span.name == "egress com.x.Foo:1.0"
    tags = dict(span.tags)
    assert (tags["rpc.system"], tags["rpc.service"], tags["rpc.method"]) == ("bolt", "com.x.Foo:1.0", "say")
    assert (tags["http.status_code"], tags["upstream_cluster"]) == ("200", "c")
    assert proxy.stat("rpc.test.tracing.random_sampling") == 1


@pytest.mark.trio
async def test_the_contexts_of_w3c_and_of_sofa_are_gone_on_with(proxy: Proxy) -> None:
    client, seen = await traced(proxy)
    await client.peer.send(request(1, [*HEADER, (b"traceparent", PARENT)]))
    await client.response()
    await client.peer.send(request(2, [*HEADER, (TRACE_ID, SOFA_ID), (RPC_ID, b"0.1")]))
    await client.response()
    await eventually(lambda: len(seen.spans) == 2)
    first, second = seen.spans
    assert first.context.trace_id == PARENT.split(b"-")[1]
    assert first.context.parent_id == PARENT.split(b"-")[2]
    assert second.context.trace_id == b"00" + SOFA_ID
    assert (seen.headers[1][TRACE_ID], seen.headers[1][RPC_ID]) == (SOFA_ID, b"0.1")
    assert seen.headers[1][b"traceparent"].split(b"-")[1] == b"00" + SOFA_ID


@pytest.mark.trio
async def test_spans_tell_of_errors_timeouts_and_answers_made_here(proxy: Proxy) -> None:
    never = HttpFilterConfig("fault", FaultConfig(abort=FaultAbort(Fraction(0), http_status=503)))
    client, seen = await traced(proxy, http_filters=(never,))
    await client.peer.send(request(1, [*HEADER, (b"fail", bytes([status.SERVER_EXCEPTION]))]))
    assert (await client.response())[:2] == (1, status.SERVER_EXCEPTION)
    proxy.route(forward("nowhere"))
    await client.peer.send(request(2, HEADER))
    assert (await client.response())[:2] == (2, status.NO_PROCESSOR)
    await eventually(lambda: len(seen.spans) == 2)
    assert [dict(span.tags)["http.status_code"] for span in seen.spans] == ["500", "503"]
    assert [dict(span.tags)["response_flags"] for span in seen.spans] == ["-", "NC"]
    assert all(span.error for span in seen.spans)


@pytest.mark.trio
async def test_dubbo_carries_the_context_as_attachments(proxy: Proxy) -> None:
    codec, seen, got = DubboCodec(), Seen(proxy), []
    proxy.surroundings.tracers = seen.tracer

    async def script(peer: Peer, _number: int) -> None:
        held = b""
        while more := await peer.read():
            held += more
            frames, end, _ = codec.split(held, 1 << 20)
            for frame in frames:
                got.append(dict(codec.read(held, frame).headers))
                await peer.send(dubbo.response(frame[3]))
            held = held[end:]

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward())
    proxy.listen("rpc", RpcProxyConfig("test", RdsReference("r"), "dubbo", tracing=TRACING), 0)
    client = await proxy.client()
    await client.send(dubbo.request(7, "com.x.Foo", "say", dubbo.text("hi"), types="Ljava/lang/String;"))
    assert codec.split(await client.read(), 1 << 20)[0][0][3] == 7
    await eventually(lambda: len(seen.spans) == 1)
    assert got[0][b"traceparent"].split(b"-")[1] == seen.spans[0].context.trace_id
    assert TRACE_ID not in got[0]
