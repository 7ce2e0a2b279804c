"""TLS on the data path: real sockets, Python's own TLS as the peer, whatever the proxy does behind it."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace

import pytest
import trio

from isthmus_proxy.listener.model import (
    ConnectionRbacConfig,
    DirectResponseConfig,
    FilterChain,
    FilterChainMatch,
    HttpConnectionManagerConfig,
    ListenerConfig,
    ListenerFilterConfig,
    RdsReference,
    SocketAddress,
    TcpProxyConfig,
    TlsInspectorConfig,
)
from isthmus_proxy.rbac.model import Anything, Authenticated, Policy, Rules
from isthmus_proxy.route.model import ClusterWeight, StringMatch
from isthmus_proxy.testing import PATIENCE, Peer, Proxy, eventually, forward, running_proxy
from isthmus_proxy.tls.model import (
    CertificateConfig,
    CommonTls,
    DataSource,
    SanMatch,
    SecretReference,
    ServerTlsConfig,
)
from isthmus_proxy.tls.testing import (
    Files,
    Issued,
    TlsPeer,
    client_tls,
    encrypted_key,
    roots,
    secure_origin,
    server_tls,
    source,
)

pytestmark = pytest.mark.trio

GET = b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n"


def inline(issued: Issued) -> CertificateConfig:
    return CertificateConfig(DataSource(inline=issued.pem.encode()), DataSource(inline=issued.key_pem.encode()))


HTTP = HttpConnectionManagerConfig("test", RdsReference("r"))


def listen(proxy: Proxy, *chains: FilterChain, inspect: bool = False) -> int:
    filters = (ListenerFilterConfig(TlsInspectorConfig()),) if inspect else ()
    listener = ListenerConfig("l", SocketAddress("127.0.0.1", 0), chains, str(chains), listener_filters=filters)
    return proxy.open(listener)


def serve(proxy: Proxy, tls: ServerTlsConfig, kind: object = HTTP, **options: object) -> int:
    return listen(proxy, FilterChain("", kind, tls=tls, content=str(tls), **options))  # type: ignore[arg-type]


def trusting(files: Files, certificate: Issued | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.authority.root.certificate)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def connect(proxy: Proxy, context: ssl.SSLContext, name: str = "server.example") -> TlsPeer:
    with trio.fail_after(PATIENCE):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        proxy.peers.append(Peer(stream))
        secure = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
        await secure.do_handshake()
    peer = TlsPeer(secure)  # type: ignore[arg-type]
    peer.secure = secure
    return peer


async def ask(peer: Peer) -> tuple[bytes, bytes]:
    await peer.send(GET)
    return await peer.message()


async def test_a_request_over_tls(files: Files) -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        serve(proxy, server_tls(source(files.server)))
        peer = await connect(proxy, trusting(files))
        for _ in range(3):
            head, body = await ask(peer)
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b"ok"
        assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.ssl.handshake") == 1
        assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.ssl.versions.TLSv1.3") == 1
        assert proxy.stat("http.test.downstream_cx_ssl_active") == 1
        await peer.close()
        await eventually(lambda: proxy.stat("http.test.downstream_cx_ssl_active") == 0)


@pytest.mark.parametrize("piece", [1, 7])
async def test_a_client_that_sends_byte_by_byte(files: Files, piece: int) -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        serve(proxy, server_tls(inline(files.server)))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        machine = trusting(files).wrap_bio(incoming, outgoing, server_hostname="server.example")
        peer = await proxy.client()

        async def flush() -> None:
            data = outgoing.read()
            for at in range(0, len(data), piece):
                await peer.send(data[at : at + piece])

        while True:
            try:
                machine.do_handshake()
                break
            except ssl.SSLWantReadError:
                await flush()
                incoming.write(await peer.read())
        machine.write(GET)
        await flush()
        answer = b""
        while not answer.endswith(b"ok"):
            incoming.write(await peer.read())
            try:
                answer += machine.read(65536)
            except ssl.SSLWantReadError:
                continue
        assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_large_bodies_both_ways_and_a_slow_reader(files: Files) -> None:
    size = 3_000_000

    async def large(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.discard(size)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        await peer.send(b"y" * size)
        await peer.read()

    async with running_proxy() as proxy:
        origin = await proxy.origin(large)
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        chain = FilterChain("", HTTP, tls=server_tls(source(files.server)))
        proxy.open(
            ListenerConfig("l", SocketAddress("127.0.0.1", 0), (chain,), "x", per_connection_buffer_limit_bytes=16384)
        )
        peer = await connect(proxy, trusting(files))
        await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
        await peer.send(b"x" * size)
        assert b"200" in await peer.read_until(b"\r\n\r\n")
        left = size
        while left:
            got = await peer.read()
            assert set(got) == {ord("y")}
            left -= len(got)


async def test_http2_by_alpn(files: Files) -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        serve(proxy, server_tls(source(files.server), alpn=("h2", "http/1.1")))
        peer = await connect(proxy, trusting(files, alpn=("h2",)))
        assert peer.secure.selected_alpn_protocol() == "h2"
        await peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert (await peer.read_exactly(9))[3] == 4  # SETTINGS
        assert proxy.stat("http.test.downstream_cx_http2_total") == 1
        older = await connect(proxy, trusting(files, alpn=("http/1.1",)))
        assert older.secure.selected_alpn_protocol() == "http/1.1"
        assert (await ask(older))[1] == b"ok"


async def test_the_certificate_is_chosen_by_the_name(files: Files) -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        serve(proxy, server_tls(source(files.server), source(files.wild), source(files.rsa)))
        for name, shown in {
            "x.wild.example": files.wild,
            "two.example": files.server,
            "server.example": files.server,
        }.items():
            peer = await connect(proxy, trusting(files), name)
            assert peer.secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(shown.pem)
            assert (await ask(peer))[1] == b"ok"
            await peer.close()
        old = trusting(files)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        peer = await connect(proxy, old)
        assert peer.secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(files.rsa.pem)
        unknown = trusting(files)
        unknown.check_hostname = False
        peer = await connect(proxy, unknown, "unknown.example")
        assert peer.secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(files.server.pem)


async def test_one_port_for_plain_and_tls(files: Files) -> None:
    async with running_proxy() as proxy:
        plain = FilterChain("plain", DirectResponseConfig(b"plain"), FilterChainMatch(transport_protocol="raw_buffer"))
        named = FilterChain(
            "named", DirectResponseConfig(b"named"), FilterChainMatch(server_names=("two.example",)),
            tls=server_tls(source(files.server)),
        )  # fmt: skip
        other = FilterChain(
            "tls", DirectResponseConfig(b"tls"), FilterChainMatch(transport_protocol="tls"), tls=server_tls(source(files.server))
        )  # fmt: skip
        listen(proxy, plain, named, other, inspect=True)
        client = await proxy.client()
        await client.send(b"x")
        assert await client.read_all() == b"plain"
        assert await (await connect(proxy, trusting(files), "two.example")).read_all() == b"named"
        assert await (await connect(proxy, trusting(files))).read_all() == b"tls"


async def test_connections_are_judged_by_the_name_of_the_peer_when_it_is_known(files: Files) -> None:
    named = Authenticated(StringMatch("exact", b"spiffe://mesh/client"))
    rules = Rules("ALLOW", (Policy("p", (Anything(),), (named,)),))
    gate = ConnectionRbacConfig("tcp.", rules, after_handshake=True)
    tls = server_tls(source(files.server), validation=roots(files))
    async with running_proxy() as proxy:
        serve(proxy, tls, DirectResponseConfig(b"hello"), gates=(gate,))
        client = await connect(proxy, trusting(files, files.client))
        assert await client.read_all() == b"hello"
        await _is_refused(await connect(proxy, trusting(files, files.wild)))
        await _is_refused(await connect(proxy, trusting(files)))
        assert (proxy.stat("tcp.rbac.allowed"), proxy.stat("tcp.rbac.denied")) == (1, 2)
        assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.ssl.connection_error") == 0
        await eventually(lambda: proxy.listeners.connection_count == 0)


@pytest.mark.parametrize("required", [True, False])
async def test_client_certificates(files: Files, required: bool) -> None:
    names = (SanMatch("URI", StringMatch("prefix", b"spiffe://mesh/")),)
    rules = roots(files, sans=names if required else ())
    manager = replace(HTTP, forward_client_cert="SANITIZE_SET", client_cert_details=frozenset({"uri"}))
    async with running_proxy() as proxy:
        seen: list[bytes] = []

        async def keep(peer: Peer, _number: int) -> None:
            seen.append((await peer.message())[0])
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await peer.read()

        proxy.cluster("c", (await proxy.origin(keep)).port)
        proxy.route(forward())
        tls = server_tls(source(files.server), validation=rules)
        serve(proxy, tls, manager)
        peer = await connect(proxy, trusting(files, files.client))
        assert (await ask(peer))[1] == b"ok"
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(files.client.pem)).hexdigest()
        forwarded = f"x-forwarded-client-cert: By=spiffe://mesh/server;Hash={digest};URI=spiffe://mesh/client\r\n"
        assert forwarded.encode() in seen[0]
        await peer.close()
        prefix = f"listener.127.0.0.1_{proxy.port}.ssl."
        if required:
            stranger = await connect(proxy, trusting(files, files.wild))
            await _is_refused(stranger)
            assert proxy.stat(prefix + "fail_verify_san") == 1
        nobody = await connect(proxy, trusting(files))
        if required:
            await _is_refused(nobody)
            assert proxy.stat(prefix + "fail_verify_no_cert") == 1
        else:
            assert (await ask(nobody))[1] == b"ok"
            assert b"x-forwarded-client-cert" not in seen[-1]
            assert proxy.stat(prefix + "no_certificate") == 1


async def _is_refused(peer: TlsPeer) -> None:
    """The client hears of it after its own part of the handshake is done (RFC 8446, section 4.4.2.4)."""
    try:
        await peer.send(GET)
        assert await peer.read() == b""
    except trio.BrokenResourceError:
        return


async def test_a_client_that_speaks_no_tls(files: Files) -> None:
    async with running_proxy() as proxy:
        serve(proxy, server_tls(source(files.server)))
        client = await proxy.client()
        await client.send(GET)
        await client.read_all()
        assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.ssl.connection_error") == 1
        await eventually(lambda: proxy.stat("http.test.downstream_cx_active") == 0)


async def test_a_handshake_that_takes_too_long(files: Files) -> None:
    async with running_proxy() as proxy:
        serve(proxy, server_tls(source(files.server)), transport_socket_connect_timeout=0.05)
        client = await proxy.client()
        assert await client.read_all() == b""
        name = f"listener.127.0.0.1_{proxy.port}.downstream_cx_transport_socket_connect_timeout"
        assert proxy.stat(name) == 1
        await eventually(lambda: proxy.stat("http.test.downstream_cx_active") == 0)


async def test_sessions_are_resumed(files: Files) -> None:
    for tickets in (True, False):
        async with running_proxy() as proxy:
            origin = await proxy.origin()
            proxy.cluster("c", origin.port)
            proxy.route(forward())
            serve(proxy, server_tls(source(files.server), tickets=tickets))
            context = trusting(files)
            session: ssl.SSLSession | None = None
            for _ in range(2):
                with trio.fail_after(PATIENCE):
                    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
                    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                    machine = context.wrap_bio(incoming, outgoing, server_hostname="server.example", session=session)
                    answer = b""
                    sent = False
                    while not answer:
                        try:
                            machine.do_handshake()
                            if not sent:
                                sent = True
                                machine.write(GET)
                            answer = machine.read(65536)
                        except ssl.SSLWantReadError:
                            if outgoing.pending:
                                await stream.send_all(outgoing.read())
                            incoming.write(await stream.receive_some(65536))
                    session = machine.session
                    reused = machine.session_reused
                    await stream.aclose()
            assert reused is tickets
            assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.ssl.session_reused") == int(tickets)


async def test_files_that_change_serve_new_connections_and_leave_the_old(files: Files) -> None:
    directory = files.authority.directory / "watched"
    directory.mkdir()
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_text(files.wild.pem)
    key.write_text(files.wild.key_pem)
    config = CertificateConfig(DataSource(str(chain)), DataSource(str(key)), watched_directory=str(directory))
    context = trusting(files)
    context.check_hostname = False
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        serve(proxy, server_tls(config))
        updates = f"listener.127.0.0.1_{proxy.port}.server_ssl_socket_factory.ssl_context_update_by_sds"
        old = await connect(proxy, context)
        assert old.secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(files.wild.pem)
        key.write_text("no key")
        chain.write_text(files.server.pem)
        for name, text in {"k": files.server.key_pem}.items():
            (directory / name).write_text(text)
            (directory / name).replace(key)
        await eventually(lambda: (proxy.stat(updates) or 0) >= 1)
        new = await connect(proxy, context)
        assert new.secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(files.server.pem)
        assert (await ask(old))[1] == b"ok"
        assert (await ask(new))[1] == b"ok"


async def test_an_encrypted_key(files: Files) -> None:
    key = encrypted_key(files.server, "open sesame")
    config = CertificateConfig(
        DataSource(str(files.server.certificate)), DataSource(str(key)), DataSource(inline=b"open sesame")
    )
    async with running_proxy() as proxy:
        serve(proxy, server_tls(config), DirectResponseConfig(b"hello"))
        assert await (await connect(proxy, trusting(files))).read_all() == b"hello"


async def test_without_its_secret_nobody_is_served(files: Files) -> None:
    common = CommonTls(certificate_references=(SecretReference("later"),))
    async with running_proxy() as proxy:
        serve(proxy, ServerTlsConfig(common))
        client = await proxy.client()
        assert await client.read_all() == b""
        prefix = f"listener.127.0.0.1_{proxy.port}."
        assert proxy.stat(prefix + "server_ssl_socket_factory.downstream_context_secrets_not_ready") == 1
        assert proxy.stat(prefix + "downstream_cx_active") == 0


# ---- towards endpoints ----


async def test_a_tcp_proxy_over_tls_on_both_sides(files: Files) -> None:
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, _):
        proxy.cluster("c", port, transport=client_tls(roots(files)))
        serve(proxy, server_tls(source(files.server)), TcpProxyConfig("test", (ClusterWeight("c"),)))
        peer = await connect(proxy, trusting(files))
        for _ in range(3):
            assert (await ask(peer))[1] == b"ok"


@pytest.mark.parametrize("kind", [DirectResponseConfig(b"hello"), replace(HTTP, idle_timeout=0.05)])
async def test_an_end_in_order_is_said_in_tls(files: Files, kind: object) -> None:
    async with running_proxy() as proxy:
        serve(proxy, server_tls(source(files.server)), kind)
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            proxy.peers.append(Peer(stream))
            strict = trio.SSLStream(stream, trusting(files), server_hostname="server.example", https_compatible=False)
            await strict.do_handshake()
            while await strict.receive_some(65536):
                pass  # an end without a close_notify would raise
