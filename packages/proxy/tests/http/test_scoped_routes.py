"""A connection manager whose requests go by the routes of their scope."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from isthmus_proxy.http.filters.stream_filter import FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, HttpFilterConfig, RdsReference, ScopedRoutesConfig
from isthmus_proxy.route.model import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.scopes import FragmentBuilder, Scope
from isthmus_proxy.testing import Proxy

pytestmark = pytest.mark.trio


def answers(name: str, text: bytes) -> RouteConfiguration:
    route = Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, text))
    return RouteConfiguration(name, (VirtualHost("v", (b"*",), (route,)),), content=f"{name} {text!r}")


def listen(proxy: Proxy, *, filters: tuple[HttpFilterConfig, ...] = ()) -> None:
    scoped = ScopedRoutesConfig("tenants", (FragmentBuilder(b"x-tenant"),), RdsReference(""))
    proxy.port = proxy.listen("l", HttpConnectionManagerConfig("test", scoped, http_filters=filters), 0)


async def told(proxy: Proxy, *tenants: bytes) -> list[object]:
    """What each tenant is told, on one connection; or the status."""
    client = await proxy.client()
    found: list[object] = []
    for tenant in tenants:
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-tenant: %b\r\n\r\n" % tenant)
        head, body = await client.message()
        status = int(head.split(b" ")[1])
        found.append(body if status == 200 else status)
    await client.close()
    return found


async def test_every_request_goes_by_its_scope(proxy: Proxy) -> None:
    proxy.routes.update(answers("r1", b"one"))
    proxy.routes.scopes().replace([Scope("red", (b"red",), "r1"), Scope("blue", (b"blue",), answers("own", b"two"))])
    listen(proxy)
    assert await told(proxy, b"red", b"blue", b"red", b"green", b"blue") == [b"one", b"two", b"one", 404, b"two"]
    proxy.routes.update(answers("r1", b"three"))
    assert await told(proxy, b"red", b"blue") == [b"three", b"two"]
    proxy.routes.scopes().replace([Scope("red", (b"blue",), "r1"), Scope("late", (b"red",), "r2")])
    assert await told(proxy, b"red", b"blue", b"red") == [404, b"three", 404]
    proxy.routes.update(answers("r2", b"late"))
    assert await told(proxy, b"red") == [b"late"]


@dataclass(frozen=True)
class Moves:
    """A filter that lets a request go on as one of the tenant blue."""

    def make(self, context: FilterContext) -> Moves:
        return self

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> StreamFilter:
        return _Move(callbacks)


class _Move(StreamFilter):
    __slots__ = ()

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        head.headers = [(name, b"blue" if name == b"x-tenant" else value) for name, value in head.headers]
        self.callbacks.clear_route_cache()
        return 0


async def test_a_filter_may_move_a_request_into_another_scope(proxy: Proxy) -> None:
    proxy.routes.scopes().replace(
        [Scope("red", (b"red",), answers("r", b"red")), Scope("blue", (b"blue",), answers("b", b"blue"))]
    )
    listen(proxy, filters=(HttpFilterConfig("move", Moves()),))
    assert await told(proxy, b"red", b"green") == [b"blue", b"blue"]
    proxy.routes.scopes().replace([Scope("red", (b"red",), answers("r", b"red"))])
    assert await told(proxy, b"red") == [404]
