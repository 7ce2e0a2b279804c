"""External authorization: answers of any kind, clients that leave, services that are slow, and what a configuration may say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.authz.grpc_check import check_request, read_response
from isthmus_proxy.authz.model import Asked, BodySettings, HttpServer
from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_filters.ext_authz import compile_ext_authz
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.ext_authz import ExtAuthzConfig, changed_query
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


class Judge:
    """An authorization service that keeps its askers waiting."""

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, bytes, bytes]] = []

    async def script(self, peer: Peer, _number: int) -> None:
        while True:
            self.asked.append((peer, *await peer.message()))

    async def answer(self, index: int, status: int = 200, body: bytes = b"") -> None:
        await self.asked[index][0].send(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def serve(proxy: Proxy, **options: object) -> Judge:
    judge = Judge()
    service = await proxy.origin(judge.script)
    backend = await proxy.origin()
    proxy.cluster("authz", service.port)
    proxy.cluster("c", backend.port)
    proxy.route(forward())
    config = ExtAuthzConfig(HttpServer("authz", 20.0), **options)  # type: ignore[arg-type]
    proxy.http(http_filters=(HttpFilterConfig("authz", config),))
    return judge


async def ask(proxy: Proxy, body: bytes = b"") -> Peer:
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a.b\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    return peer


@pytest.mark.trio
async def test_a_client_that_leaves_takes_its_question_back(proxy: Proxy) -> None:
    judge = await serve(proxy)
    peer = await ask(proxy)
    await eventually(lambda: len(judge.asked) == 1)
    await peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
    assert proxy.stat("cluster.authz.upstream_rq_active") == 0
    assert proxy.stat("http.test.ext_authz.ok") == 0


@pytest.mark.trio
async def test_one_slow_question_holds_up_no_other_request(proxy: Proxy) -> None:
    judge = await serve(proxy)
    slow, quick = await ask(proxy), await ask(proxy)
    await eventually(lambda: len(judge.asked) == 2)
    await judge.answer(1)
    await judge.answer(0, 403, b"no")
    heads = sorted([(await peer.message())[0][:12] for peer in (slow, quick)])
    assert heads == [b"HTTP/1.1 200", b"HTTP/1.1 403"]


@pytest.mark.trio
async def test_a_body_that_is_too_long_to_be_told_is_read_no_further_until_the_answer(proxy: Proxy) -> None:
    judge = await serve(proxy, body=BodySettings(4, partial=True))
    peer = await ask(proxy, b"x" * 100_000)
    await eventually(lambda: len(judge.asked) == 1)
    _, head, body = judge.asked[0]
    assert body == b"xxxx"
    assert b"x-envoy-auth-partial-body: true" in head
    await judge.answer(0)
    assert (await peer.message())[0].startswith(b"HTTP/1.1 200")
    await eventually(lambda: bool(proxy.logs.lines))
    assert proxy.logs.lines[0].bytes_received == 100_000


@pytest.mark.trio
async def test_an_answer_that_is_too_large_is_a_failure(proxy: Proxy) -> None:
    judge = await serve(proxy)
    peer = await ask(proxy)
    await eventually(lambda: len(judge.asked) == 1)
    await judge.answer(0, 401, b"x" * (1 << 20) + b"y")
    head, _ = await peer.message()
    assert head.startswith(b"HTTP/1.1 403")
    assert proxy.stat("http.test.ext_authz.error") == 1


@pytest.mark.trio
async def test_without_a_cluster_to_ask_requests_are_refused(proxy: Proxy) -> None:
    await serve(proxy)
    proxy.clusters.remove("authz")
    assert (await proxy.get())[0] == 403


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    assert read_response(data).kind in ("ok", "denied", "error")


@given(st.binary(max_size=20), st.binary(max_size=20), st.text(max_size=20))
def test_any_request_can_be_told(value: bytes, body: bytes, address: str) -> None:
    headers = ((b"x-a", value), (b"x-a", value))
    check_request(Asked(b"GET", b"http", value, b"/" + value, headers, body, source=address))
    check_request(Asked(b"GET", b"http", b"", b"", (), body, as_bytes=True, destination=address))


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/", b"/?a=1"), (b"/?a=0&b=2", b"/?a=1&b=2"), (b"/?c=3", b"/?a=1"), (b"/?b&c", b"/?b=&a=1")],
)
def test_queries_change(path: bytes, expected: bytes) -> None:
    assert sorted(changed_query(path, ((b"a", b"1"),), (b"c",))[2:].split(b"&")) == sorted(expected[2:].split(b"&"))


HTTP = {"server_uri": {"uri": "http://a.b", "cluster": "authz", "timeout": "1s"}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, r"needs one of grpc_service and http_service"),
        ({"http_service": {}}, r"server_uri\.uri.* is required"),
        ({"http_service": {**HTTP, "path_prefix": "x"}}, r"path_prefix.* must begin with a slash"),
        ({"http_service": {**HTTP, "retry_policy": {}}}, r"retry_policy.* is not supported"),
        ({"grpc_service": {"google_grpc": {"target_uri": "x"}}}, r"grpc_service\.google_grpc.* is not supported"),
        ({"grpc_service": {"envoy_grpc": {}}}, r"cluster_name.* is required"),
        ({"http_service": HTTP, "with_request_body": {}}, r"max_request_bytes.* must be more than zero"),
        ({"http_service": HTTP, "validate_mutations": True}, r"validate_mutations.* only false"),
        ({"http_service": HTTP, "include_peer_certificate": True}, r"include_peer_certificate.* only false"),
        ({"http_service": HTTP, "deny_at_disable": {}}, r"deny_at_disable.* not supported"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(value: dict[str, object], words: str) -> None:
    proto = ExtAuthz()
    with pytest.raises(ConfigError, match=words):  # noqa: PT012 - either of the two may find it
        fill(proto, value)
        check(proto, "authz")
        compile_ext_authz(proto, "authz")
