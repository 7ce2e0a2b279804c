"""Remote calls over TLS: mutual on both sides, beside plain ones on the same port, and to endpoints whose TLS is switched on meanwhile."""

from __future__ import annotations

import ssl

import pytest
import trio

from isthmus_proxy.cluster.transport import TransportSocket
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.listener.model import (
    FilterChain,
    FilterChainMatch,
    ListenerConfig,
    ListenerFilterConfig,
    RdsReference,
    RpcProxyConfig,
    SocketAddress,
    TlsInspectorConfig,
)
from isthmus_proxy.rpc.testing import HEADER, Frames, echo
from isthmus_proxy.testing import PATIENCE, Peer, Proxy, forward, running_proxy
from isthmus_proxy.tls.model import (
    CertificateConfig,
    ClientTlsConfig,
    CommonTls,
    DataSource,
    ServerTlsConfig,
    ValidationConfig,
)
from isthmus_proxy.tls.testing import Files, Issued

pytestmark = pytest.mark.trio
BOLT = RpcProxyConfig("test", RdsReference("r"), "bolt")


def certificate(issued: Issued) -> CertificateConfig:
    return CertificateConfig(DataSource(str(issued.certificate)), DataSource(str(issued.key)))


def roots(files: Files) -> ValidationConfig:
    return ValidationConfig(DataSource(str(files.authority.root.certificate)))


def server(files: Files) -> ServerTlsConfig:
    common = CommonTls(certificates=(certificate(files.server),), validation=roots(files))
    return ServerTlsConfig(common, require_client_certificate=True)


def endpoint(files: Files) -> TransportSocket:
    common = CommonTls(certificates=(certificate(files.client),), validation=roots(files))
    return TransportSocket(ClientTlsConfig(common))


def listen(proxy: Proxy, *chains: FilterChain, inspect: bool = False) -> None:
    filters = (ListenerFilterConfig(TlsInspectorConfig()),) if inspect else ()
    proxy.open(ListenerConfig("l", SocketAddress("127.0.0.1", 0), chains, str(chains), listener_filters=filters))


async def secure_client(proxy: Proxy, files: Files, issued: Issued | None) -> Frames:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.authority.root.certificate)
    if issued is not None:
        context.load_cert_chain(issued.certificate, issued.key)
    with trio.fail_after(PATIENCE):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        proxy.peers.append(Peer(stream))
        secure = trio.SSLStream(stream, context, server_hostname="server.example", https_compatible=True)
        await secure.do_handshake()
    return Frames(Peer(secure))  # type: ignore[arg-type]


async def ask(client: Frames) -> None:
    await client.peer.send(request(1, HEADER))
    await client.response()


async def secure_origin(proxy: Proxy, files: Files) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server.certificate, files.server.key)
    context.load_verify_locations(files.authority.root.certificate)
    context.verify_mode = ssl.CERT_REQUIRED

    async def script(peer: Peer, number: int) -> None:
        secure = trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True)
        await secure.do_handshake()
        await echo(Peer(secure), number)  # type: ignore[arg-type]

    return (await proxy.origin(script)).port


async def test_calls_over_mutual_tls_on_both_sides(files: Files) -> None:
    async with running_proxy() as proxy:
        proxy.cluster("c", await secure_origin(proxy, files), transport=endpoint(files))
        proxy.route(forward())
        listen(proxy, FilterChain("", BOLT, tls=server(files)))
        client = await secure_client(proxy, files, files.client)
        await client.peer.send(b"".join(request(i, HEADER, bytes(5000)) for i in range(50)))
        assert {(await client.response())[:2] for _ in range(50)} == {(i, 0) for i in range(50)}
        assert proxy.stat("cluster.c.ssl.handshake") == 1
        stranger = await secure_client(proxy, files, None)
        with pytest.raises((trio.BrokenResourceError, EOFError)):
            await ask(stranger)
        assert proxy.stat("cluster.c.upstream_rq_total") == 50


async def test_plain_and_secure_calls_on_one_port(files: Files) -> None:
    async with running_proxy() as proxy:
        proxy.cluster("c", (await proxy.origin(echo)).port)
        proxy.route(forward())
        secure = FilterChain("tls", BOLT, FilterChainMatch(transport_protocol="tls"), tls=server(files))
        plain = FilterChain("plain", BOLT, FilterChainMatch(transport_protocol="raw_buffer"))
        listen(proxy, secure, plain, inspect=True)
        for client in (await secure_client(proxy, files, files.client), Frames(await proxy.client())):
            await client.peer.send(request(7, HEADER, b"x"))
            assert await client.response() == (7, 0, b"x")


async def test_an_endpoint_whose_tls_is_switched_on_gets_new_connections(files: Files) -> None:
    async with running_proxy() as proxy:
        plain, secure = (await proxy.origin(echo)).port, await secure_origin(proxy, files)
        proxy.cluster("c", plain)
        proxy.route(forward())
        proxy.listen("rpc", BOLT, 0)
        client = Frames(await proxy.client())
        await client.peer.send(request(1, HEADER, b"x"))
        assert await client.response() == (1, 0, b"x")
        proxy.cluster("c", secure, transport=endpoint(files))
        await client.peer.send(request(2, HEADER, b"y"))
        assert await client.response() == (2, 0, b"y")
        assert proxy.stat("cluster.c.ssl.handshake") == 1
        proxy.cluster("c", plain)
        await client.peer.send(request(3, HEADER, b"z"))
        assert await client.response() == (3, 0, b"z")
