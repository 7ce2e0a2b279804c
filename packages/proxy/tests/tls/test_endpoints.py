"""TLS to endpoints, and the PROXY header before it: real sockets, Python's own TLS as the peer."""

from __future__ import annotations

import ssl

import pytest

from isthmus_proxy.cluster.health.model import HealthCheckConfig, HttpCheck, TcpCheck
from isthmus_proxy.cluster.transport import TransportSocket, TransportSocketMatch
from isthmus_proxy.route.model import StringMatch
from isthmus_proxy.testing import Peer, eventually, forward, running_proxy
from isthmus_proxy.tls.certificate import read_certificate
from isthmus_proxy.tls.model import DataSource, SanMatch, ValidationConfig
from isthmus_proxy.tls.testing import Files, client_tls, roots, secure_origin, source
from isthmus_proxy.upstream.pool import server_name

pytestmark = pytest.mark.trio


async def test_a_request_to_a_tls_endpoint(files: Files) -> None:
    rules = roots(files, sans=(SanMatch("DNS", StringMatch("exact", b"server.example")),))
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, taken):
        proxy.cluster("c", port, transport=client_tls(rules, sni="server.example"))
        proxy.route(forward())
        proxy.http()
        for _ in range(2):
            assert (await proxy.get())[2] == b"ok"
        assert len(taken) == 1
        assert proxy.stat("cluster.c.ssl.handshake") == 1


async def test_sessions_with_endpoints_are_resumed(files: Files) -> None:
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, taken):
        transport = client_tls(roots(files))
        proxy.cluster("c", port, transport=transport, max_requests_per_connection=1)
        proxy.route(forward())
        proxy.http()
        for _ in range(3):
            assert (await proxy.get())[2] == b"ok"
        assert len(taken) == 3
        assert proxy.stat("cluster.c.ssl.session_reused") == 2


async def test_a_client_certificate_for_an_endpoint(files: Files) -> None:
    async with running_proxy() as proxy, secure_origin(proxy, files.server, files) as (port, _):
        proxy.cluster("c", port, transport=client_tls(None, source(files.client)))
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[2] == b"ok"


async def test_an_endpoint_whose_certificate_is_not_accepted(files: Files) -> None:
    wrong = ValidationConfig(DataSource(str(files.stranger.root.certificate)))
    pinned = ValidationConfig(spkis=frozenset({bytes(32)}))
    known = read_certificate(ssl.PEM_cert_to_DER_cert(files.server.pem))
    right = ValidationConfig(spkis=frozenset({known.spki_hash}))
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, _):
        proxy.route(forward())
        proxy.http()
        for rules, counter in ((wrong, "fail_verify_error"), (pinned, "fail_verify_cert_hash")):
            proxy.cluster("c", port, transport=client_tls(rules))
            assert (await proxy.get())[0] == 503
            assert proxy.logs.lines[-1].flags == "UF"
            assert "CERTIFICATE_VERIFY_FAILED" in proxy.logs.lines[-1].details
            assert proxy.stat(f"cluster.c.ssl.{counter}") == 1
        proxy.cluster("c", port, transport=client_tls(right))
        assert (await proxy.get())[2] == b"ok"


async def test_an_endpoint_that_never_shakes_hands(files: Files) -> None:
    async def silent(peer: Peer, _number: int) -> None:
        while await peer.read():
            pass

    async with running_proxy() as proxy:
        origin = await proxy.origin(silent)
        proxy.cluster("c", origin.port, transport=client_tls(), connect_timeout=0.05)
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[0] == 503
        assert proxy.logs.lines[-1].details == "upstream_reset_before_response_started{connection_timeout}"
        assert proxy.stat("cluster.c.upstream_cx_connect_timeout") == 1
        assert proxy.stat("cluster.c.upstream_cx_active") == 0


@pytest.mark.parametrize(
    ("version", "head"), [(1, b"PROXY TCP4 127.0.0.1 127.0.0.1 "), (2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")]
)
async def test_a_proxy_header_for_an_endpoint(version: int, head: bytes) -> None:
    async with running_proxy() as proxy:
        seen: list[bytes] = []

        async def keep(peer: Peer, _number: int) -> None:
            seen.append(await peer.read_until(b"hello"))

        origin = await proxy.origin(keep)
        proxy.cluster("c", origin.port, transport=TransportSocket(proxy_protocol=version))
        proxy.tcp("c")
        client = await proxy.client()
        await client.send(b"hello")
        await eventually(lambda: bool(seen))
        port = client.stream.socket.getsockname()[1]
        assert seen[0].startswith(head)
        rest = seen[0].removeprefix(head)
        if version == 1:
            assert rest == f"{port} {proxy.port}\r\nhello".encode()
        else:
            assert rest == bytes([127, 0, 0, 1] * 2) + port.to_bytes(2) + proxy.port.to_bytes(2) + b"hello"


async def test_endpoints_with_and_without_tls_in_one_cluster(files: Files) -> None:
    matches = (TransportSocketMatch("tls", (("mode", "tls"),), client_tls(roots(files))),)
    async with running_proxy() as proxy:
        plain = await proxy.origin()
        proxy.cluster("c", plain.port, transport=TransportSocket(), transport_matches=matches)
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[2] == b"ok"
        assert proxy.stat("cluster.c.transport_socket_match.default.total_match_count") == 1


async def test_the_server_name_is_the_hosts_of_the_request(files: Files) -> None:
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, taken):
        proxy.cluster("c", port, transport=client_tls(roots(files)), auto_sni=True, auto_san_validation=True)
        proxy.route(forward())
        proxy.http()
        for host, status in (
            (b"server.example", 200),
            (b"two.example:81", 200),
            (b"server.example", 200),
            (b"no.example", 503),
        ):
            peer = await proxy.client()
            await peer.send(b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
            assert int((await peer.message())[0].split()[1]) == status
        assert len(taken) >= 2
        assert proxy.stat("cluster.c.upstream_cx_total") == 3, "a connection for each name"
        assert proxy.stat("cluster.c.ssl.fail_verify_san") == 1


async def test_names_of_hosts() -> None:
    names = {b"a.Example:80": "a.example", b"[::1]:80": "::1", b"a": "a", b"": ""}
    assert {authority: server_name(authority) for authority in names} == names


def check(kind: HttpCheck | TcpCheck, timeout: float = 5.0, **options: object) -> HealthCheckConfig:
    quick = {"no_traffic_interval": 0.01, "no_traffic_healthy_interval": 0.01, "unhealthy_interval": 0.01}
    edges = {"unhealthy_edge_interval": 0.01, "healthy_edge_interval": 0.01}
    return HealthCheckConfig(kind, timeout, 0.01, 2, 2, **{**quick, **edges, **options})  # type: ignore[arg-type]


async def test_health_checks_go_over_tls(files: Files) -> None:
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, taken):
        transport = client_tls(roots(files), sni="server.example")
        proxy.cluster("c", port, transport=transport, health_check=check(HttpCheck()))
        await eventually(lambda: (proxy.stat("cluster.c.health_check.success") or 0) > 3)
        assert proxy.stat("cluster.c.membership_healthy") == 1
        assert len(taken) == 1, "the connection is kept"
        # The same checks by other means begin anew: nobody trusts this endpoint any more.
        stranger = ValidationConfig(DataSource(str(files.stranger.root.certificate)))
        proxy.cluster("c", port, transport=client_tls(stranger), health_check=check(HttpCheck()))
        await eventually(lambda: proxy.stat("cluster.c.membership_healthy") == 0)
        assert proxy.stat("cluster.c.health_check.network_failure")
        assert proxy.stat("cluster.c.upstream_cx_total") == 0


async def test_a_tcp_check_passes_when_the_handshake_is_done(files: Files) -> None:
    async with running_proxy() as proxy:
        silent = await proxy.origin(_silent)
        proxy.cluster("c", silent.port, transport=client_tls(), health_check=check(TcpCheck(), timeout=0.02))
        await eventually(lambda: proxy.stat("cluster.c.membership_healthy") == 0)
        async with secure_origin(proxy, files.server) as (port, _):
            proxy.cluster("c", port, transport=client_tls(), health_check=check(TcpCheck()))
            await eventually(lambda: proxy.stat("cluster.c.membership_healthy") == 1)


async def _silent(peer: Peer, _number: int) -> None:
    while await peer.read():
        pass


async def test_a_check_chooses_its_transport_socket_and_its_protocols(files: Files) -> None:
    secure = TransportSocketMatch("secure", (("mode", "tls"),), client_tls(roots(files), sni="server.example"))
    async with running_proxy() as proxy, secure_origin(proxy, files.server) as (port, taken):
        health = check(HttpCheck(), transport_criteria=(("mode", "tls"),), alpn_protocols=("other", "http/1.1"))
        proxy.cluster("c", port, transport_matches=(secure,), health_check=health)
        await eventually(lambda: bool(proxy.stat("cluster.c.health_check.success")))
        assert proxy.stat("cluster.c.membership_healthy") == 1
        assert taken[0].secure.selected_alpn_protocol() == "http/1.1"
