"""The pure parts of the filters for gRPC; the filters themselves are held against Envoy in integration."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.http_filters.grpc import compile_grpc_stats
from isthmus_proxy.grpc.framing import frame
from isthmus_proxy.http.filters.grpc_calls import CallStats, MessageCounter, service_and_method
from isthmus_proxy.http.filters.grpc_web import GrpcWeb, GrpcWebFactory
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.observe.stats import StatsStore


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_messages_are_counted_however_the_bytes_are_cut(messages: list[bytes], sizes: list[int]) -> None:
    data = b"".join(map(frame, messages))
    counter, position, turn = MessageCounter(), 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        counter.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert counter.count == len(messages)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (b"/a.B/C", ("a.B", "C")),
        (b"/a.B/C?x=1", ("a.B", "C")),
        (b"/a.B", None),
        (b"/a.B/", None),
        (b"//C", None),
        (b"/a/b/c", None),
        (b"*", None),
    ],
)
def test_only_two_parts_name_a_method(path: bytes, named: tuple[str, str] | None) -> None:
    assert service_and_method(RequestHead(b"POST", path, b"a", [])) == named


def test_a_status_that_is_no_number_makes_no_name() -> None:
    stats = StatsStore()
    calls = CallStats(stats.scope("cluster.c"), "grpc")
    calls.ended(b"x.y: 1\n")
    calls.ended(None)
    assert stats.value("cluster.c.grpc.invalid") == stats.value("cluster.c.grpc.failure") == 1


def test_stats_of_methods() -> None:
    from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig

    proto: Any = FilterConfig()
    assert compile_grpc_stats(proto, "f").prefix(("a.B", "C")) == "grpc"
    proto.stats_for_all_methods.value = True
    proto.replace_dots_in_grpc_service_name = True
    assert compile_grpc_stats(proto, "f").prefix(("a.B", "C")) == "grpc.a_B.C"


class Callbacks:
    """What the filter asks of its exchange."""

    cluster_name = "none"
    buffer_limit = 100

    def __init__(self) -> None:
        self.replies: list[int] = []
        self.sent = b""
        self.trailers: object = None

    def send_local_reply(self, reply: Any) -> None:
        self.replies.append(reply.status)

    def inject_encoded_data(self, _filter: object, data: bytes) -> None:
        self.sent += data

    def set_response_trailers(self, trailers: object) -> None:
        self.trailers = trailers


class NoClusters:
    def get(self, _name: str) -> None:
        return None


def text_call() -> tuple[GrpcWeb, Callbacks]:
    callbacks = Callbacks()
    kind = (b"content-type", b"application/grpc-web-text")
    made = GrpcWebFactory(cast("Any", NoClusters())).create(cast("Any", callbacks), ())
    made.decode_headers(RequestHead(b"POST", b"/s/m", b"a", [kind, (b"accept", kind[1])]), False)
    return made, callbacks


@given(st.binary(max_size=60), st.integers(1, 9))
def test_base64_may_be_cut_anywhere(message: bytes, size: int) -> None:
    call, callbacks = text_call()
    text = base64.b64encode(frame(message))
    got = b"".join(call.decode_data(text[start : start + size]) for start in range(0, len(text), size))
    call.decode_end(())
    assert (got, callbacks.replies) == (frame(message), [])


@given(st.lists(st.binary(max_size=20), max_size=4), st.integers(1, 9))
def test_answers_are_encoded_message_by_message(messages: list[bytes], size: int) -> None:
    call, callbacks = text_call()
    call.encode_headers(ResponseHead(200, [(b"content-type", b"application/grpc")]), False)
    data = b"".join(map(frame, messages))
    got = b"".join(call.encode_data(data[start : start + size]) for start in range(0, len(data), size))
    assert got == b"".join(base64.b64encode(frame(message)) for message in messages)
    call.encode_end(((b"grpc-status", b"0"),))
    assert base64.b64decode(callbacks.sent) == b"\x80\0\0\0\x0fgrpc-status:0\r\n"
    assert callbacks.trailers == ()


def test_broken_base64_is_refused() -> None:
    call, callbacks = text_call()
    assert call.decode_data(b"!!!!") == b""
    call, callbacks = text_call()
    call.decode_data(b"AAA")
    call.decode_end(())
    assert callbacks.replies == [400]
