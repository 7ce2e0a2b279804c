"""Listener filters, filter chains and redirected connections: the same file, the same bytes, the same answers as a live Envoy."""

import ipaddress
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import peers
from harness.envoy import Envoy, envoy_binary, validate
from harness.isthmus import Proxy, module
from harness.ports import free_port
from harness.process import run

EXTENSION = "type.googleapis.com/envoy.extensions.filters."
PATIENCE = 20.0


def typed(kind: str, **fields: object) -> dict[str, Any]:
    return {"name": kind.split(".")[1], "typed_config": {"@type": EXTENSION + kind, **fields}}


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def says(text: str, **match: object) -> dict[str, Any]:
    response = typed("network.direct_response.v3.Config", response={"inline_string": text})
    return {"name": text, "filters": [response], **({"filter_chain_match": match} if match else {})}


def prefix(*ranges: str) -> list[dict[str, Any]]:
    networks = [ipaddress.ip_network(each) for each in ranges]
    return [{"address_prefix": str(net.network_address), "prefix_len": net.prefixlen} for net in networks]


PROXY_PROTOCOL = typed("listener.proxy_protocol.v3.ProxyProtocol", allow_requests_without_proxy_protocol=True)
TLS_INSPECTOR = typed("listener.tls_inspector.v3.TlsInspector")
HTTP_INSPECTOR = typed("listener.http_inspector.v3.HttpInspector")

CHAINS = [
    says("port", destination_port=5000),
    says("port and name", destination_port=5001, server_names=["a.example"]),
    says("net 16", prefix_ranges=prefix("192.0.0.0/16")),
    says("net 24", prefix_ranges=prefix("192.0.2.0/24")),
    says("host", prefix_ranges=prefix("192.0.2.7/32", "198.51.100.7/32")),
    says("name", server_names=["a.example"]),
    says("wildcard", server_names=["*.example"]),
    says("deep wildcard", server_names=["*.b.example", "*.c.example"]),
    says("wildcard h2", server_names=["*.example"], application_protocols=["h2"]),
    says("tls", transport_protocol="tls"),
    says("tls h2", transport_protocol="tls", application_protocols=["h2"]),
    says("plain http", transport_protocol="raw_buffer", application_protocols=["http/1.1"]),
    says("h2c", application_protocols=["h2c"]),
    says("near", transport_protocol="raw_buffer", source_type="SAME_IP_OR_LOOPBACK"),
    says("far", transport_protocol="raw_buffer", source_type="EXTERNAL"),
    says(
        "source", transport_protocol="raw_buffer", source_type="EXTERNAL", source_prefix_ranges=prefix("203.0.113.0/24")
    ),
    says(
        "source port",
        transport_protocol="raw_buffer",
        source_type="EXTERNAL",
        source_prefix_ranges=prefix("203.0.113.0/24"),
        source_ports=[7, 8],
    ),
    says(
        "direct source",
        prefix_ranges=prefix("198.51.100.0/24"),
        direct_source_prefix_ranges=prefix("127.0.0.0/8"),
        source_prefix_ranges=prefix("203.0.113.0/24"),
    ),
]


def hello(name: str, *protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name or None)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def v1(destination: str, port: int, source: str = "203.0.113.9", source_port: int = 99) -> bytes:
    return f"PROXY TCP4 {source} {destination} {source_port} {port}\r\n".encode()


def v2(source: str, destination: str, source_port: int, port: int) -> bytes:
    body = b"".join(ipaddress.ip_address(each).packed for each in (source, destination))
    body += source_port.to_bytes(2) + port.to_bytes(2) + b"\x04\0\1x"
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(body).to_bytes(2) + body


REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
BYTES: dict[str, list[bytes]] = {
    "a request": [REQUEST],
    "a request in pieces": [REQUEST[:2], REQUEST[2:9], REQUEST[9:]],
    "HTTP/1.0": [b"GET / HTTP/1.0\r\n\r\n"],
    "HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "no protocol": [b"\0\1\2\3\4\5\6\7\n\n"],
    "name": [hello("a.example")],
    "name in capitals": [hello("A.EXAMPLE")],
    "name and h2": [hello("a.example", "h2")],
    "wildcard": [hello("x.example")],
    "wildcard and h2": [hello("x.example", "http/1.1", "h2")],
    "deep wildcard": [hello("y.x.b.example")],
    "deep wildcard and h2": [hello("x.c.example", "h2")],
    "other name": [hello("a.test")],
    "other name and h2": [hello("a.test", "h2")],
    "no name": [hello("")],
    "name in pieces": [hello("a.example")[:1], hello("a.example")[1:]],
    "by port": [v1("10.0.0.1", 5000) + REQUEST],
    "by port, other name": [v1("10.0.0.1", 5001) + hello("b.test")],
    "by port, name": [v1("10.0.0.1", 5001), hello("a.example")],
    "by net 16": [v1("192.0.3.1", 1) + REQUEST],
    "by net 24": [v1("192.0.2.1", 1) + REQUEST],
    "by host": [v1("192.0.2.7", 1) + REQUEST],
    "by host, a second one": [v1("198.51.100.7", 1) + REQUEST],
    "far, HTTP": [v1("10.0.0.1", 1) + REQUEST],
    "far, no protocol": [v1("10.0.0.1", 1, "8.8.8.8") + b"\0\1\2\3\4\5\6\7\n\n"],
    "source": [v1("10.0.0.1", 1) + b"\0\1\2\3\4\5\6\7\n\n"],
    "source port": [v1("10.0.0.1", 1, source_port=7) + b"\0\1\2\3\4\5\6\7\n\n"],
    "same address": [v1("10.0.0.1", 1, "10.0.0.1") + b"\0\1\2\3\4\5\6\7\n\n"],
    "direct source": [v1("198.51.100.1", 1) + REQUEST],
    "direct source, other client": [v1("198.51.100.1", 1, "8.8.8.8") + REQUEST],
    "version 2": [v2("203.0.113.9", "192.0.2.7", 7, 1), REQUEST],
    "version 2, source port": [v2("203.0.113.9", "10.0.0.1", 8, 1) + b"\0\1\2\3\4\5\6\7\n\n"],
    "unknown": [b"PROXY UNKNOWN\r\n" + REQUEST],
    "malformed version 1": [b"PROXY TCP4 1.2.3.4\r\n" + REQUEST],
    "malformed version 2": [b"\r\n\r\n\0\r\nQUIT\n\x21\x99\0\0" + REQUEST],
}


def bootstrap(port: int) -> dict[str, Any]:
    listener = {
        "name": "l",
        "address": address("127.0.0.1", port),
        "listener_filters": [PROXY_PROTOCOL, TLS_INSPECTOR, HTTP_INSPECTOR],
        "filter_chains": CHAINS,
        "default_filter_chain": says("default"),
        "stat_prefix": "tested",
    }
    redirected = {
        "name": "redirected",
        "address": address("192.0.2.77", 700),
        "bind_to_port": False,
        "filter_chains": [says("redirected")],
    }
    late = {
        "name": "late",
        "address": address("127.0.0.1", port + 1),
        "listener_filters": [TLS_INSPECTOR],
        "listener_filters_timeout": "0.05s",
        "continue_on_listener_filters_timeout": True,
        "filter_chains": [says("late")],
    }
    return {
        "admin": {"address": address("127.0.0.1", 0)},
        "static_resources": {"listeners": [listener, redirected, late]},
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[Proxy, int], tuple[Envoy, int]]]:
    directory = tmp_path_factory.mktemp("listeners")
    ours, theirs = free_port(), free_port()
    with Proxy(bootstrap(ours), directory) as proxy, Envoy(bootstrap(theirs), directory) as envoy:
        proxy.wait_ready()
        envoy.wait_ready()
        yield (proxy, ours), (envoy, theirs)


def exchange(port: int, pieces: list[bytes]) -> bytes:
    """What comes back, empty for a connection that is closed or reset without a word."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
            while data := sock.recv(4096):
                received += data
        except ConnectionError:
            pass
        return received


@pytest.mark.parametrize("case", BYTES)
def test_the_chain_is_envoys(pair: tuple[tuple[Proxy, int], tuple[Envoy, int]], case: str) -> None:
    (_, ours), (_, theirs) = pair
    assert exchange(ours, BYTES[case]) == exchange(theirs, BYTES[case])


def test_a_server_that_speaks_first_does_after_the_timeout(pair: tuple[tuple[Proxy, int], tuple[Envoy, int]]) -> None:
    (_, ours), (_, theirs) = pair
    assert exchange(ours + 1, []) == exchange(theirs + 1, []) == b"late"


COUNTED = ("no_filter_chain_match", "downstream_cx_total", "downstream_pre_cx_timeout")


def test_the_stats_have_envoys_names(pair: tuple[tuple[Proxy, int], tuple[Envoy, int]]) -> None:
    (proxy, ours), (envoy, theirs) = pair
    names = [f"listener.tested.{name}" for name in COUNTED]
    names += [
        "tls_inspector.tls_found",
        "tls_inspector.sni_found",
        "tls_inspector.alpn_found",
        "http_inspector.http11_found",
    ]
    names += ["proxy_proto.versions.v1.found", "proxy_proto.versions.v2.found", "proxy_proto.versions.v1.error"]
    before = [(proxy.stat(name), envoy.stat(name)) for name in names]
    for pieces in BYTES.values():
        exchange(ours, pieces)
        exchange(theirs, pieces)
    after = [(proxy.stat(name), envoy.stat(name)) for name in names]
    grown = {name: (now[0] - then[0], now[1] - then[1]) for name, then, now in zip(names, before, after, strict=True)}
    assert {name: ours for name, (ours, _) in grown.items()} == {name: theirs for name, (_, theirs) in grown.items()}


@pytest.mark.parametrize(
    "chains",
    [
        [says("a"), says("b")],
        [says("a", server_names=["x", "y"]), says("b", server_names=["y"])],
        [says("a", server_names=["x*.y"])],
        [says("a", server_names=["*"])],
        [says("a", destination_port=0)],
        [],
    ],
)
def test_what_envoy_refuses_is_refused(chains: list[dict[str, Any]], tmp_path: Path) -> None:
    listener = {"name": "l", "address": address("127.0.0.1", 0), "filter_chains": chains}
    config = {"static_resources": {"listeners": [listener]}}
    accepted, said = validate(config)
    assert not accepted, said
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(config))
    assert run([*module("isthmus_proxy"), "validate", "-c", path]).returncode == 1


@pytest.fixture(scope="module")
def namespace() -> None:
    unshare = peers.command("unshare", "util-linux")
    peers.command("iptables", "iptables")
    done = run([unshare, "--net", "iptables", "-t", "nat", "-L"])
    if done.returncode:
        peers.missing("network namespaces with iptables", done.stderr)


@pytest.mark.usefixtures("namespace")
def test_redirected_connections_reach_the_listener_of_their_destination(tmp_path: Path) -> None:
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(istio_style()))
    options = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    ours = intercepted([*module("isthmus_proxy"), "run", "-c", config])
    theirs = intercepted([envoy_binary(), "-c", config, *options])
    assert ours == theirs
    assert ours == {
        "10.1.1.1:8000": "exact",
        "10.1.1.2:8000": "virtual",
        "10.1.1.2:9000": "port",
        "10.1.1.3:7000": "matched",
        "[fd00::1]:9001": "six",
        "127.0.0.1:15001": "virtual",
    }


def intercepted(command: list[str | Path]) -> dict[str, str]:
    script = Path(__file__).parent / "interception.py"
    done = run(["unshare", "--net", sys.executable, script, *command], within=60)
    assert done.returncode == 0, done.stdout + done.stderr
    answers: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answers


def istio_style() -> dict[str, Any]:
    """What Istio gives a sidecar: one listener that takes all outbound connections, and others that are not bound."""
    original = typed("listener.original_dst.v3.OriginalDst")
    virtual = {
        "name": "virtualOutbound",
        "address": address("0.0.0.0", 15001),
        "additional_addresses": [{"address": address("::", 15001)}],
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
        "listener_filters": [original],
        "filter_chains": [says("matched", destination_port=7000)],
        "default_filter_chain": says("virtual"),
    }
    hidden = [
        {"name": name, "address": address(host, port), "bind_to_port": False, "filter_chains": [says(name)]}
        for name, host, port in (("exact", "10.1.1.1", 8000), ("port", "0.0.0.0", 9000), ("six", "::", 9001))
    ]
    return {"static_resources": {"listeners": [virtual, *hidden]}}
