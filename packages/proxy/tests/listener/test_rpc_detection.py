"""Protocols of one port told apart by their first bytes, and led to chains of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from isthmus_proxy.codec.bolt import testing as bolt
from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.codec.dubbo import testing as dubbo
from isthmus_proxy.codec.dubbo.codec import DubboCodec
from isthmus_proxy.codec.rpc import RpcCodec
from isthmus_proxy.listener.model import (
    DirectResponseConfig,
    FilterChain,
    FilterChainMatch,
    HttpInspectorConfig,
    ListenerConfig,
    ListenerFilterConfig,
    RpcInspectorConfig,
    SocketAddress,
    TlsInspectorConfig,
)
from isthmus_proxy.listener.rpc_detection import MAX_BYTES, detect
from isthmus_proxy.testing import Proxy, running_proxy

CODECS: list[RpcCodec] = [BoltCodec(), DubboCodec()]
CALL = bolt.request(1, [(b"service", b"s")])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", None), (b"\x01", None), (b"\x01\x01", "bolt"), (b"\x02\x01\x01", "bolt"), (b"\x01\x09", ""), (b"\xda", None),
        (b"\xda\xbb", "dubbo"), (b"\xda\xbc", ""), (b"\x0d\x00", "tr"), (b"G", ""), (b"PRI * HTTP/2", ""), (b"\x16\x03", ""),
    ],
)  # fmt: skip
def test_first_bytes_tell(data: bytes, found: str | None) -> None:
    assert detect(CODECS, data, tr=True) == found


def test_tr_is_only_looked_for_where_asked() -> None:
    assert detect(CODECS, b"\x0d\x00", tr=False) == ""


def test_an_undecided_codec_is_not_waited_for_without_end() -> None:
    class Undecided(DubboCodec):
        def detect(self, data: bytes) -> bool | None:
            del data
            return None

    assert detect([Undecided()], bytes(MAX_BYTES - 1), tr=False) is None
    assert detect([Undecided()], bytes(MAX_BYTES), tr=False) == ""


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


@pytest.mark.trio
async def test_one_port_serves_them_all(proxy: Proxy) -> None:
    def chain(name: str, **match: object) -> FilterChain:
        return FilterChain(name, DirectResponseConfig(name.encode()), FilterChainMatch(**match))  # type: ignore[arg-type]

    proxy.open(
        ListenerConfig(
            "l",
            SocketAddress("127.0.0.1", 0),
            (
                chain("bolt", application_protocols=("bolt",)),
                chain("dubbo", application_protocols=("dubbo",)),
                chain("tr", application_protocols=("tr",)),
                chain("http1", application_protocols=("http/1.1",)),
                chain("http2", application_protocols=("h2c",)),
                chain("tls", transport_protocol="tls"),
                chain("tcp"),
            ),
            "x",
            listener_filters=(
                ListenerFilterConfig(TlsInspectorConfig()),
                ListenerFilterConfig(RpcInspectorConfig(("bolt", "dubbo", "tr"))),
                ListenerFilterConfig(HttpInspectorConfig()),
            ),
        )
    )
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for name, pieces in {
        "bolt": [CALL[:1], CALL[1:]],
        "dubbo": [b"\xda", dubbo.request(1, "s", "m")[1:]],
        "tr": [b"\x0d\x01\x02\x03"],
        "http1": [b"G", b"ET / HTTP/1.1\r\n\r\n"],
        "http2": [preface[:5], preface[5:]],
        "tcp": [b"\x00\x01\x02\x03hello"],
    }.items():
        client = await proxy.client()
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert await client.read_all() == name.encode()
    assert proxy.stat("rpc_inspector.bolt_found") == 1
    assert proxy.stat("rpc_inspector.not_found") == 3
