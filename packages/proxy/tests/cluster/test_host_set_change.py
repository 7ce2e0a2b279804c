"""Connections to endpoints that stay, when others come or go (CommonLbConfig.close_connections_on_host_set_change)."""

from __future__ import annotations

import pytest

from isthmus_proxy.testing import forward, running_proxy


@pytest.mark.trio
@pytest.mark.parametrize("closing", [False, True])
async def test_a_change_of_endpoints_closes_idle_connections_if_asked_for(closing: bool) -> None:
    async with running_proxy() as proxy:
        stays, comes = await proxy.origin(), await proxy.origin()
        proxy.cluster("c", stays.port, close_connections_on_host_set_change=closing)
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[0] == 200
        assert proxy.stat("cluster.c.upstream_cx_active") == 1
        proxy.cluster("c", stays.port, close_connections_on_host_set_change=closing, connect_timeout=4.0)
        assert proxy.stat("cluster.c.upstream_cx_active") == 1  # no endpoint came or went
        proxy.cluster("c", stays.port, comes.port, close_connections_on_host_set_change=closing)
        assert proxy.stat("cluster.c.upstream_cx_active") == (0 if closing else 1)
        assert [(await proxy.get())[0] for _ in range(4)] == [200] * 4
