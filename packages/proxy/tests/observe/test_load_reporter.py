"""The stream of load reports: what is said when, and what follows the server's answers."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.duration_pb2 import Duration

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.grpc.call import CallListener, CallOptions
from isthmus_proxy.grpc.status import UNAVAILABLE, Outcome
from isthmus_proxy.observe.load_book import LoadBook
from isthmus_proxy.observe.load_reporter import PATH, SEND_ALL, LoadReporter
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.xds.backoff import Backoff


class Call:
    """The server's side of one stream."""

    def __init__(self, cluster: str, path: str, listener: CallListener) -> None:
        self.target = (cluster, path)
        self.listener = listener
        self.received: list[Any] = []
        self.cancelled = False

    def send(self, message: bytes) -> bool:
        self.received.append(LoadStatsRequest.FromString(message))
        return True

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, seconds: float, *names: str, by_endpoint: bool = False) -> None:
        interval = Duration()
        interval.FromNanoseconds(int(seconds * 1e9))
        answer = LoadStatsResponse(load_reporting_interval=interval, report_endpoint_granularity=by_endpoint)
        answer.clusters.extend(names)
        answer.send_all_clusters = not names
        self.listener.message_received(answer.SerializeToString())


class Server:
    """Takes every stream."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.times: list[float] = []

    def call(self, cluster: str, path: str, listener: CallListener, _options: CallOptions) -> Call:
        self.calls.append(Call(cluster, path, listener))
        self.times.append(trio.current_time())
        return self.calls[-1]


class Lab:
    def __init__(self) -> None:
        self.stats = StatsStore()
        self.server = Server()
        clusters = ClusterManager(lambda name: self.stats.scope(f"cluster.{name}"), Random(1).random, lambda: 0.0)
        endpoints = (LocalityEndpoints((EndpointConfig("10.0.0.1", 80),)),)
        clusters.add_or_update(ClusterConfig("web", "STATIC", assignment=Assignment("web", endpoints)))
        found = clusters.get("web")
        assert found is not None
        self.endpoint = found.endpoints["10.0.0.1", 80]
        scope, backoff = self.stats.scope("load_reporter"), Backoff(lambda: 1.0, 1.0, 8.0)
        node = Node(id="me", client_features=["other"])
        self.reporter = LoadReporter("lrs", node, LoadBook(clusters), self.server, scope, backoff)  # type: ignore[arg-type]

    def successes(self, call: int = -1) -> list[int]:
        """Those of each report of a stream."""
        return [
            sum(
                place.total_successful_requests
                for stats in report.cluster_stats
                for place in stats.upstream_locality_stats
            )
            for report in self.server.calls[call].received
        ]


@pytest.fixture
async def lab(nursery: trio.Nursery) -> Lab:
    lab = Lab()
    nursery.start_soon(lab.reporter.run)
    await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    return lab


@pytest.mark.trio
async def test_the_first_message_names_the_node_and_the_server_says_what_follows(
    lab: Lab, autojump_clock: trio.testing.MockClock
) -> None:
    [call] = lab.server.calls
    assert call.target == ("lrs", PATH)
    [first] = call.received
    assert (first.node.id, list(first.node.client_features)) == ("me", ["other", SEND_ALL])
    await trio.sleep(100)
    assert len(call.received) == 1, "nothing is reported unasked"
    call.answer(2.0, "web")
    await trio.sleep(1)
    lab.endpoint.rq_success += 3
    await trio.sleep(4.5)
    assert [report.HasField("node") for report in call.received] == [True, False, False]
    assert lab.successes() == [0, 3, 0]
    call.answer(1.0, by_endpoint=True)
    lab.endpoint.rq_success += 1
    await trio.sleep(1.5)
    [place] = call.received[-1].cluster_stats[0].upstream_locality_stats
    assert place.upstream_endpoint_stats[0].total_successful_requests == 1
    assert {name: lab.stats.value(f"load_reporter.{name}") for name in ("requests", "responses", "errors")} == {
        "requests": 2,
        "responses": 4,
        "errors": 0,
    }


@pytest.mark.trio
async def test_what_happens_while_there_is_no_stream_goes_with_the_next_ones_first_message(
    lab: Lab, autojump_clock: trio.testing.MockClock
) -> None:
    [call] = lab.server.calls
    call.answer(10.0)
    await trio.sleep(1)
    lab.endpoint.rq_success += 2
    call.listener.closed(Outcome(UNAVAILABLE, "gone"))
    await trio.sleep(0.5)
    lab.endpoint.rq_success += 3
    await trio.sleep(1)
    assert call.cancelled
    _, again = lab.server.calls
    assert again.received[0].node.id == "me"
    assert lab.successes() == [5]
    assert (lab.stats.value("load_reporter.errors"), lab.stats.value("load_reporter.retries")) == (1, 1)


@pytest.mark.trio
async def test_attempts_come_at_growing_intervals_until_the_server_answers(
    lab: Lab, autojump_clock: trio.testing.MockClock
) -> None:
    for pause in (1, 2, 4, 8, 8):
        lab.server.calls[-1].listener.closed(Outcome(UNAVAILABLE, "gone"))
        at = trio.current_time()
        await trio.sleep(pause + 0.5)
        assert lab.server.times[-1] - at == pytest.approx(pause)
    lab.server.calls[-1].answer(5.0)
    await trio.sleep(1)
    lab.server.calls[-1].listener.closed(Outcome(UNAVAILABLE, "gone"))
    await trio.sleep(1.25)
    assert len(lab.server.calls) == 7


@pytest.mark.trio
@pytest.mark.parametrize("message", [b"\xff", LoadStatsResponse(send_all_clusters=True).SerializeToString()])
async def test_an_answer_that_cannot_be_followed_ends_the_stream(
    lab: Lab, autojump_clock: trio.testing.MockClock, message: bytes
) -> None:
    [call] = lab.server.calls
    call.listener.message_received(message)
    await trio.sleep(0.5)
    assert call.cancelled
    assert lab.stats.value("load_reporter.requests") == 0
    assert lab.stats.value("load_reporter.errors") == 1
