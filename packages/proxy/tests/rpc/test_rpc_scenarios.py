"""Scenarios of MOSN's own tests that no other test here shows: direct responses, redirects and subsets for remote calls."""

from __future__ import annotations

import pytest

from isthmus_proxy.cluster.lb_policy import Subset, SubsetSelector
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import request, response
from isthmus_proxy.route.model import (
    ClusterWeight,
    DirectResponseAction,
    ForwardAction,
    HeaderMatch,
    RedirectAction,
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.rpc.testing import HEADER, Frames, rpc
from isthmus_proxy.testing import Peer, Proxy

pytestmark = pytest.mark.trio


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (DirectResponseAction(403), status.SERVER_EXCEPTION),
        (DirectResponseAction(504), status.TIMEOUT),
        (RedirectAction(host=b"other"), status.UNKNOWN),
    ],
)
async def test_what_a_route_answers_itself_is_a_status_of_the_protocol(
    proxy: Proxy, action: DirectResponseAction | RedirectAction, code: int
) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), action))
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER) + request(2, HEADER))
    assert [(await client.response())[:2] for _ in range(2)] == [(1, code), (2, code)]


async def test_subsets_by_header_with_one_that_is_unknown_and_a_default(proxy: Proxy) -> None:
    def named(name: bytes) -> object:
        async def script(peer: Peer, _number: int) -> None:
            frames = Frames(peer)
            while True:
                frame, _ = await frames.next()
                await peer.send(response(frame[3], name))

        return script

    ports = {name: (await proxy.origin(named(name.encode()))).port for name in ("blue", "green")}  # type: ignore[arg-type]
    endpoints = tuple(EndpointConfig("127.0.0.1", port, metadata=(("color", name),)) for name, port in ports.items())
    policy = Subset(
        selectors=(SubsetSelector(("color",)),), fallback_policy="DEFAULT_SUBSET", default_subset=(("color", "green"),)
    )
    assignment = Assignment("c", (LocalityEndpoints(endpoints),))
    proxy.clusters.add_or_update(ClusterConfig("c", "STATIC", assignment=assignment, lb_policy=policy))

    def route(color: str) -> Route:
        wanted = HeaderMatch(b"color", StringMatch("exact", color.encode()))
        target = ClusterWeight("c", metadata_match=(("color", color),))
        return Route(RouteMatch(StringMatch("prefix", b"/"), (wanted,)), ForwardAction((target,), 1))

    anywhere = Route(RouteMatch(StringMatch("prefix", b"/")), ForwardAction((ClusterWeight("c"),), 1))
    proxy.route(route("blue"), route("green"), route("red"), anywhere)
    rpc(proxy)
    client = Frames(await proxy.client())
    for color, expected in ((b"blue", b"blue"), (b"green", b"green"), (b"red", b"green"), (b"", b"green")):
        for identifier in range(4):
            await client.peer.send(request(identifier, [*HEADER, (b"color", color)]))
            assert await client.response() == (identifier, 0, expected)
