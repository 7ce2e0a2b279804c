"""A listener that the control plane replaces again and again under load: no request is lost, and the socket stays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from harness.eventually import eventually_async
from harness.isthmus import Proxy
from harness.load import Load, Target
from harness.ports import free_port
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.xds.server import XdsServer
from test_xds_make_before_break import answer, bootstrap, cluster, endpoints, listener, route

UPDATES = 20
CONNECTIONS = 8


def snapshot(number: int, port: int, backend: int, previous: Snapshot | None) -> Snapshot:
    """One listener with a connection manager of its own for each number."""
    message: Any = listener()
    message.address.socket_address.port_value = port
    packed = message.filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager()
    packed.Unpack(manager)
    manager.stat_prefix = f"shop{number}"
    packed.Pack(manager)
    messages = {
        CLUSTER: {"reviews": cluster("reviews")},
        ENDPOINT: {"reviews": endpoints("reviews", backend)},
        LISTENER: {"shop": message},
        ROUTE: {"shop": route("reviews")},
    }
    return build(messages, previous)


@pytest.mark.asyncio
@pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
async def test_listener_updates_under_load_lose_no_request(variant: str, tmp_path: Path) -> None:
    backend = await asyncio.start_server(answer, "127.0.0.1", 0)
    port, behind = free_port(), backend.sockets[0].getsockname()[1]
    current = snapshot(0, port, behind, None)
    server: XdsServer

    def need(scope: Scope) -> None:
        server.publish(scope, current, "a client arrived")

    server = XdsServer("127.0.0.1:0", on_scope_needed=need)
    address = await server.start()
    # The proxy is waited for by blocking calls, and must be served meanwhile.
    proxy = await asyncio.to_thread(Proxy, bootstrap(address, variant), tmp_path)
    try:
        await asyncio.to_thread(proxy.wait_ready)
        load = Load(Target(f"127.0.0.1:{port}", connections=CONNECTIONS)).start()
        for number in range(1, UPDATES + 1):
            current = snapshot(number, port, behind, current)
            server.publish_all(dict.fromkeys(server.scopes_in_use(), current), "update")

            async def served(number: int = number) -> bool:
                name = f"http.shop{number}.downstream_rq_total"
                return await asyncio.to_thread(proxy.stat, name) > CONNECTIONS

            await eventually_async(served, what="requests at the new listener")
        await asyncio.to_thread(load.stop)
        assert not load.failures(), load.failures()[:5]
        assert load.total().requests > UPDATES * CONNECTIONS
        assert await asyncio.to_thread(proxy.stat, f"listener.127.0.0.1_{port}.downstream_cx_total") > CONNECTIONS
    finally:
        await asyncio.to_thread(proxy.stop)
        await server.stop(1.0)
        backend.close()
