"""Health checks seen from the requests: real sockets, endpoints that fail, come back, stay and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isthmus_proxy.cluster.health.model import EndpointHealthCheck, HealthCheckConfig, HttpCheck, TcpCheck
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.testing import Origin, Peer, Proxy, eventually, forward, running_proxy


class Health:
    """An endpoint that answers checks of its health as it is told, and everything else with its name."""

    def __init__(self, name: bytes = b"ok") -> None:
        self.status = b"200"
        self.checks = 0
        self.name = name

    async def __call__(self, peer: Peer, _number: int) -> None:
        while True:
            head, _ = await peer.message()
            status, body = b"200", self.name
            if b"user-agent: Envoy/HC" in head:
                self.checks += 1
                status, body = self.status, b""
            await peer.send(b"HTTP/1.1 %b S\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


QUICK = HealthCheckConfig(
    HttpCheck(b"/health"),
    timeout=5.0,
    interval=0.01,
    unhealthy_threshold=2,
    healthy_threshold=2,
    no_traffic_interval=0.01,
    no_traffic_healthy_interval=0.01,
    unhealthy_interval=0.01,
    unhealthy_edge_interval=0.01,
    healthy_edge_interval=0.01,
)


def healthy(proxy: Proxy) -> int | None:
    return proxy.stat("cluster.c.membership_healthy")


def discovered(*origins: Origin, **options: object) -> tuple[ClusterConfig, Assignment]:
    endpoints = tuple(EndpointConfig("127.0.0.1", origin.port) for origin in origins)
    config = ClusterConfig("c", "EDS", health_check=QUICK, **options)  # type: ignore[arg-type]
    return config, Assignment("c", (LocalityEndpoints(endpoints),))


@pytest.mark.trio
async def test_requests_go_to_who_passes_checks_and_to_all_again_when_they_do() -> None:
    sick, well = Health(b"sick"), Health(b"well")
    async with running_proxy() as proxy:
        origins = await proxy.origin(sick), await proxy.origin(well)
        sick.status = b"503"
        proxy.cluster("c", *[origin.port for origin in origins], health_check=QUICK)
        proxy.route(forward())
        proxy.http()
        await eventually(lambda: sick.checks > 3 and well.checks > 3)
        assert healthy(proxy) == 1
        assert {(await proxy.get())[2] for _ in range(10)} == {b"well"}
        sick.status = b"200"
        await eventually(lambda: healthy(proxy) == 2)
        assert {(await proxy.get())[2] for _ in range(10)} == {b"well", b"sick"}
        assert all(origin.connections <= 2 for origin in origins)  # one for checks, one for requests


@pytest.mark.trio
async def test_checks_begin_with_the_cluster_and_end_with_their_configuration() -> None:
    health = Health()
    async with running_proxy() as proxy:
        origin = await proxy.origin(health)
        health.status = b"500"
        proxy.cluster("c", origin.port, health_check=QUICK)
        await eventually(lambda: health.checks > 2)
        assert healthy(proxy) == 0
        proxy.cluster("c", origin.port)
        assert healthy(proxy) == 1
        before = proxy.stat("cluster.c.health_check.attempt")
        proxy.cluster("c", origin.port, health_check=replace(QUICK, interval=0.02))
        assert healthy(proxy) == 1
        await eventually(lambda: healthy(proxy) == 0)
        assert before is not None
        proxy.clusters.remove("c")


@pytest.mark.trio
async def test_an_endpoint_without_checks_counts_as_healthy() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        endpoint = EndpointConfig("127.0.0.1", origin.port, health_check=EndpointHealthCheck(disabled=True))
        assignment = Assignment("c", (LocalityEndpoints((endpoint,)),))
        proxy.clusters.add_or_update(ClusterConfig("c", "STATIC", assignment=assignment, health_check=QUICK))
        proxy.clusters.get("c")
        assert healthy(proxy) == 1
        assert proxy.stat("cluster.c.health_check.attempt") == 0


@pytest.mark.trio
@pytest.mark.parametrize("warm", [False, True])
async def test_new_endpoints_are_left_out_of_the_count_until_their_first_check(warm: bool) -> None:
    health = Health()
    async with running_proxy() as proxy:
        origin = await proxy.origin(health)
        proxy.cluster("c", origin.port, health_check=QUICK, ignore_new_hosts_until_first_hc=warm)
        assert (healthy(proxy), proxy.stat("cluster.c.membership_excluded")) == (0, int(warm))
        await eventually(lambda: healthy(proxy) == 1)
        assert proxy.stat("cluster.c.membership_excluded") == 0


@pytest.mark.trio
async def test_an_endpoint_that_passes_outlasts_discovery_until_it_fails() -> None:
    stays, goes = Health(b"stays"), Health(b"goes")
    async with running_proxy() as proxy:
        origins = await proxy.origin(stays), await proxy.origin(goes)
        config, both = discovered(*origins)
        proxy.clusters.add_or_update(config)
        proxy.clusters.update_assignment("c", both)
        proxy.route(forward())
        proxy.http()
        await eventually(lambda: healthy(proxy) == 2)
        proxy.clusters.update_assignment("c", discovered(origins[0])[1])
        assert {(await proxy.get())[2] for _ in range(10)} == {b"stays", b"goes"}
        goes.status = b"500"
        await eventually(lambda: proxy.stat("cluster.c.membership_total") == 1)
        assert {(await proxy.get())[2] for _ in range(10)} == {b"stays"}


@pytest.mark.trio
async def test_an_endpoint_that_is_named_again_is_like_any_other() -> None:
    health = Health()
    async with running_proxy() as proxy:
        origin = await proxy.origin(health)
        config, full = discovered(origin)
        proxy.clusters.add_or_update(config)
        proxy.clusters.update_assignment("c", full)
        await eventually(lambda: healthy(proxy) == 1)
        proxy.clusters.update_assignment("c", Assignment("c"))
        assert proxy.stat("cluster.c.membership_total") == 1
        proxy.clusters.update_assignment("c", full)
        health.status = b"500"
        await eventually(lambda: healthy(proxy) == 0)
        assert proxy.stat("cluster.c.membership_total") == 1


@pytest.mark.trio
async def test_discovery_alone_decides_if_health_is_to_be_ignored() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin(Health())
        config, full = discovered(origin, ignore_health_on_host_removal=True)
        proxy.clusters.add_or_update(config)
        proxy.clusters.update_assignment("c", full)
        await eventually(lambda: healthy(proxy) == 1)
        proxy.clusters.update_assignment("c", Assignment("c"))
        assert proxy.stat("cluster.c.membership_total") == 0


@pytest.mark.trio
async def test_an_ejected_endpoint_that_passes_a_check_comes_back() -> None:
    health = Health()
    ejecting = OutlierDetectionConfig(consecutive_5xx=1, max_ejection_percent=100, base_ejection_time=3600)
    async with running_proxy() as proxy:
        origin = await proxy.origin(health)
        proxy.cluster("c", origin.port, health_check=QUICK, outlier_detection=ejecting)
        await eventually(lambda: healthy(proxy) == 1)
        cluster = proxy.clusters.get("c")
        assert cluster is not None
        monitor = next(iter(cluster.endpoints.values())).monitor
        assert monitor is not None
        monitor.failed(503)
        assert proxy.stat("cluster.c.outlier_detection.ejections_active") == 1
        await eventually(lambda: proxy.stat("cluster.c.outlier_detection.ejections_active") == 0)


async def echo(peer: Peer, _number: int) -> None:
    while True:
        await peer.send(await peer.read())


@pytest.mark.trio
@pytest.mark.parametrize("closing", [False, True])
async def test_tcp_connections_end_with_the_health_of_their_endpoint_if_asked_for(closing: bool) -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin(echo)
        config = replace(QUICK, check=TcpCheck(b"ping", (b"ping",)), timeout=0.2)
        proxy.cluster("c", origin.port, health_check=config, close_connections_on_host_health_failure=closing)
        await eventually(lambda: healthy(proxy) == 1)
        client = await proxy.client(proxy.tcp("c"))
        await client.send(b"hello")
        assert await client.read_exactly(5) == b"hello"
        cluster = proxy.clusters.get("c")
        assert cluster is not None
        proxy.monitoring.health_changed(cluster, next(iter(cluster.endpoints.values())))
        await client.send(b"again")
        assert await client.read_exactly(5) == b"again"
        endpoint = next(iter(cluster.endpoints.values()))
        endpoint.flags |= 1
        proxy.monitoring.health_changed(cluster, endpoint)
        if closing:
            assert await client.read_all() == b""
        else:
            await client.send(b"still")
            assert await client.read_exactly(5) == b"still"
