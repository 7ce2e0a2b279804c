"""ORIGINAL_DST clusters: endpoints made of destinations, and let go when nothing goes there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster import original_dst
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.membership import Membership
from isthmus_proxy.cluster.model import ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.cluster.original_dst import Destination, OriginalDstLoadBalancer, parse_destination
from isthmus_proxy.cluster.original_dst_model import OriginalDst
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.testing import Proxy, eventually, forward, running_proxy


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::0:1]:1", ("::1", 1)),
        ("10.0.0.1", None),
        ("10.0.0.1:0", None),
        ("10.0.0.1:65536", None),
        ("10.0.0.1:８０", None),
        ("::1:80", None),
        ("localhost:80", None),
        ("", None),
        ("10.0.0.1:80 ", None),
    ],
)
def test_destinations_are_addresses_with_ports(text: str, destination: Destination | None) -> None:
    assert parse_destination(text) == destination


@given(st.text(max_size=20))
def test_anything_else_is_no_destination(text: str) -> None:
    found = parse_destination(text)
    assert found is None or 0 < found[1] < 65536


class Bench:
    def __init__(self, **options: object) -> None:
        self.made: list[Endpoint] = []
        self.overflow = Counter("x")
        self.balancer = OriginalDstLoadBalancer(OriginalDst(**options), self.add, self.overflow)  # type: ignore[arg-type]

    def add(self, destination: Destination) -> Endpoint:
        self.made.append(Endpoint(EndpointConfig(*destination), LocalityEndpoints(())))
        return self.made[-1]

    def choose(self, host: str = "10.0.0.1", port: int = 80) -> Endpoint | None:
        return self.balancer.choose(LoadBalancerContext(destination=(host, port)))


def test_one_endpoint_for_each_destination() -> None:
    bench = Bench()
    first = bench.choose()
    assert first is not None
    assert bench.choose() is first
    assert bench.choose(port=81) is not first
    assert bench.balancer.choose(LoadBalancerContext()) is None
    assert bench.balancer.choose(None) is None


def test_a_port_of_the_cluster_replaces_that_of_the_destination() -> None:
    bench = Bench(port=8080)
    assert bench.choose() is bench.choose(port=81)
    assert bench.made[0].address == ("10.0.0.1", 8080)


def test_what_was_used_or_is_being_used_stays() -> None:
    bench = Bench()
    first, second = bench.choose(), bench.choose(port=81)
    assert first is not None
    assert second is not None
    assert bench.balancer.unused() == []
    second.rq_active = 1
    assert bench.balancer.unused() == [first]
    bench.balancer.update(Membership([second]))
    second.rq_active = 0
    assert bench.balancer.unused() == [second]


def test_endpoints_are_bounded() -> None:
    bench = Bench()
    hosts = [Endpoint(EndpointConfig("10.0.0.1", 1), LocalityEndpoints(()))] * 1
    bench.balancer.update(Membership(hosts))
    for number in range(1, original_dst.MAX_HOSTS):
        assert bench.choose(f"10.1.{number // 256}.{number % 256}") is not None
    assert bench.choose("10.9.9.9") is None
    assert bench.choose("10.0.0.1", 1) is hosts[0]
    assert bench.overflow.value == 1


def original(proxy: Proxy, **options: object) -> None:
    config = OriginalDst(b"x-envoy-original-dst-host", **options)  # type: ignore[arg-type]
    proxy.clusters.add_or_update(ClusterConfig("c", "ORIGINAL_DST", original_dst=config))


@pytest.mark.trio
async def test_requests_go_where_their_header_says_and_endpoints_go_when_unused() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        original(proxy, cleanup_interval=0.05)
        proxy.route(forward())
        proxy.http()
        header = b"x-envoy-original-dst-host: 127.0.0.1:%d\r\n" % origin.port
        assert [(await proxy.get(headers=header))[0] for _ in range(3)] == [200] * 3
        assert origin.connections == 1
        assert proxy.stat("cluster.c.membership_total") == 1
        status, _, body = await proxy.get(headers=b"x-envoy-original-dst-host: nowhere\r\n")
        assert (status, body) == (503, b"no healthy upstream")
        assert proxy.stat("cluster.c.original_dst_host_invalid") == 1
        assert (await proxy.get())[0] == 503
        await eventually(lambda: proxy.stat("cluster.c.membership_total") == 0)
        assert proxy.stat("cluster.c.upstream_cx_active") == 0
        assert (await proxy.get(headers=header))[0] == 200
