"""Keys that are fetched: one fetch for all who wait, ahead of need where asked for, and nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus_proxy.http.filters.jwt_authn import JwtConfig, RequirementRule
from isthmus_proxy.jwt.model import ByProvider, Provider, RemoteJwks
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.route.model import RouteMatch, StringMatch
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

from .test_token import key_set, signed

GOOD = b"authorization: Bearer " + signed({"iss": "me"}) + b"\r\n"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


class KeyServer:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Peer] = []

    async def script(self, peer: Peer, _number: int) -> None:
        while True:
            await peer.message()
            self.asked.append(peer)

    async def answer(self, index: int, body: bytes, status: int = 200) -> None:
        await self.asked[index].send(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def serve(proxy: Proxy, **options: object) -> KeyServer:
    server = KeyServer()
    keys = await proxy.origin(server.script)
    backend = await proxy.origin()
    proxy.cluster("keys", keys.port)
    proxy.cluster("c", backend.port)
    remote = RemoteJwks("keys", b"keys.test", b"/jwks", 20.0, **options)  # type: ignore[arg-type]
    provider = Provider("p", "me", remote_jwks=remote, cache_size=10)
    rule = RequirementRule(RouteMatch(StringMatch("prefix", b"/")), ByProvider(provider))
    proxy.route(forward())
    proxy.http(http_filters=(HttpFilterConfig("jwt", JwtConfig((provider,), (rule,))),))
    return server


async def ask(proxy: Proxy) -> Peer:
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n" + GOOD + b"\r\n")
    return peer


@pytest.mark.trio
async def test_one_fetch_serves_all_who_wait_and_those_who_come_later(proxy: Proxy) -> None:
    server = await serve(proxy)
    waiting = [await ask(proxy) for _ in range(5)]
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 5 and len(server.asked) == 1)
    await server.answer(0, key_set())
    for peer in waiting:
        assert (await peer.message())[0].startswith(b"HTTP/1.1 200")
    assert (await proxy.get(headers=GOOD))[0] == 200
    assert len(server.asked) == 1
    assert proxy.stat("http.test.jwt_authn.jwks_fetch_success") == 1
    assert proxy.stat("http.test.jwt_authn.jwt_cache_hit") == 1


@pytest.mark.trio
async def test_a_failed_fetch_refuses_those_who_wait_and_the_next_one_tries_again(proxy: Proxy) -> None:
    server = await serve(proxy)
    peer = await ask(proxy)
    await eventually(lambda: len(server.asked) == 1)
    await server.answer(0, b"", status=500)
    head, body = await peer.message()
    assert head.startswith(b"HTTP/1.1 401")
    assert body == b"Jwks remote fetch is failed"
    again = await ask(proxy)
    await eventually(lambda: len(server.asked) == 2)
    await server.answer(1, key_set())
    assert (await again.message())[0].startswith(b"HTTP/1.1 200")


@pytest.mark.trio
async def test_a_client_that_leaves_while_keys_are_fetched_leaves_nothing_behind(proxy: Proxy) -> None:
    server = await serve(proxy)
    gone, stays = await ask(proxy), await ask(proxy)
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 2 and len(server.asked) == 1)
    await gone.close()
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 1)
    await server.answer(0, key_set())
    assert (await stays.message())[0].startswith(b"HTTP/1.1 200")
    assert proxy.stat("http.test.downstream_rq_active") == 0
    assert proxy.stat("cluster.keys.upstream_rq_active") == 0


@pytest.mark.trio
async def test_keys_are_fetched_ahead_of_need_and_again_before_they_are_too_old(proxy: Proxy) -> None:
    server = await serve(proxy, in_advance=True, cache_duration=0.02)
    for number in range(3):
        await eventually(lambda number=number: len(server.asked) > number)  # type: ignore[misc]
        await server.answer(number, key_set())
    await eventually(lambda: proxy.stat("http.test.jwt_authn.jwks_fetch_success") == 3)


@pytest.mark.trio
async def test_a_failed_fetch_ahead_of_need_is_tried_again_and_an_end_ends_it(proxy: Proxy) -> None:
    server = await serve(proxy, in_advance=True, retry_after_failure=0.001)
    await eventually(lambda: len(server.asked) == 1)
    await server.answer(0, b"no keys")
    await eventually(lambda: len(server.asked) == 2)
    await server.answer(1, b"x" * (1 << 20) + b"y")  # too large
    await eventually(lambda: len(server.asked) == 3)
    assert proxy.stat("http.test.jwt_authn.jwks_fetch_failed") == 2
    proxy.listeners.close()
    await eventually(lambda: proxy.stat("cluster.keys.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_a_server_that_is_not_there_is_a_failure(proxy: Proxy) -> None:
    await serve(proxy)
    proxy.clusters.remove("keys")
    status, _, body = await proxy.get(headers=GOOD)
    assert (status, body) == (401, b"Jwks remote fetch is failed")
