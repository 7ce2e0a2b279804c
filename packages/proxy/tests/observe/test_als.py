"""Entries for a log service, and the queue in which they wait for it."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.listener.model import AccessLogConfig, GrpcLogTarget
from isthmus_proxy.observe import als_stream
from isthmus_proxy.observe.access_log import AccessLogManager
from isthmus_proxy.observe.als_entry import FLAGS, http_entry
from isthmus_proxy.observe.als_stream import AlsStream
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.reactor.reactor import Reactor

TARGET = GrpcLogTarget("logs", "shop")


IDLE = Reactor(lambda: 0.0)


def nowhere(reactor: Reactor = IDLE) -> GrpcClient:
    """A client that knows no clusters."""
    clusters = ClusterManager(StatsStore().scope, lambda: 0.0, lambda: 0.0)
    return GrpcClient(Surroundings(reactor, clusters, lambda: 0.0, random.Random(1)))


def ended(**values: object) -> StreamInfo:
    info = StreamInfo(10.0, 1_795_460_828.25)
    info.request = RequestHead(b"GET", b"/p", b"shop", [(b"user-agent", b"ua"), (b"x-a", b"1"), (b"x-a", b"2")])
    info.response = ResponseHead(503, [(b"server", b"envoy")])
    info.status, info.ended_at = 503, 10.5
    info.downstream_remote, info.downstream_direct_remote = "[::1]:5", "10.0.0.1:6"
    info.downstream_local = "/run/x"
    for name, value in values.items():
        setattr(info, name, value)
    return info


def test_an_entry_says_what_is_known() -> None:
    entry: HTTPAccessLogEntry = http_entry(
        ended(flags=("UF", "URX", "unknown"), upstream_host="10.0.0.2:80", upstream_cluster="c"), (b"x-a", b"x-b"), ()
    )
    common = entry.common_properties
    assert (common.downstream_remote_address.socket_address.address, common.duration.nanos) == ("::1", 500_000_000)
    assert common.downstream_local_address.pipe.path == "/run/x"
    assert common.start_time.ToNanoseconds() == 1_795_460_828_250_000_000
    assert common.upstream_cluster == "c"
    assert common.response_flags.upstream_connection_failure
    assert common.response_flags.upstream_retry_limit_exceeded
    assert dict(entry.request.request_headers) == {"x-a": "1,2"}
    assert entry.response.response_code.value == 503


def test_an_exchange_without_a_head_has_an_entry_too() -> None:
    entry: HTTPAccessLogEntry = http_entry(ended(request=None, response=None, protocol="", flags=("DPE",)), (), ())
    assert entry.common_properties.response_flags.downstream_protocol_error
    assert entry.request.path == ""


def test_every_flag_is_a_field() -> None:
    flags = tuple(FLAGS)
    entry: HTTPAccessLogEntry = http_entry(ended(flags=flags), (), ())
    assert len(entry.common_properties.response_flags.ListFields()) == len(flags)


def test_more_than_may_wait_is_dropped() -> None:
    stats = StatsStore()
    stream = AlsStream(TARGET, Node(id="me"), stats.scope("als"), nowhere())
    for _ in range(als_stream.MAX_WAITING + 3):
        stream.add(ended())
    assert stats.value("als.logs_dropped") == 3


@pytest.mark.trio
async def test_a_service_that_is_not_there_costs_what_waits(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    stats = StatsStore()
    reactor = Reactor()
    await nursery.start(reactor.run)
    stream = AlsStream(TARGET, Node(id="me"), stats.scope("als"), nowhere(reactor))
    nursery.start_soon(stream.run)
    stream.add(ended())
    await trio.sleep(5)
    assert stats.value("als.logs_dropped") == 1
    stream.add(ended())
    await trio.sleep(5)
    assert stats.value("als.logs_dropped") == 2
    stream.close()


def test_loggers_to_one_service_share_a_stream_until_the_last_is_closed() -> None:
    opened: list[AlsStream] = []
    stats = StatsStore()
    manager = AccessLogManager(stats)

    def service(target: GrpcLogTarget) -> AlsStream:
        opened.append(AlsStream(target, Node(id="me"), stats.scope("als"), nowhere()))
        return opened[-1]

    manager.log_service = service
    errors = AccessLogConfig("", grpc=TARGET, matches=lambda info: info.status >= 500)
    first, second = manager.open_loggers((errors, AccessLogConfig("", grpc=TARGET)))
    assert len(opened) == 1
    first.log(ended(status=200))
    first.log(ended())
    second.log(ended(status=200))
    assert opened[0].waiting == 2
    manager.close_loggers((first,))
    manager.open_loggers((errors,))
    assert len(opened) == 1
