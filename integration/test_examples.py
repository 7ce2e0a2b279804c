"""Every example, served by our proxy and by a live Envoy, answers the same requests alike."""

import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.example_certificates import make_example_certificates, with_certificates
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_ports

EXAMPLES = Path(__file__).parent.parent / "packages" / "proxy" / "examples"
PATIENCE = 20.0


def get(path: str, *headers: str, method: str = "GET", host: str = "shop.example.com", body: str = "") -> bytes:
    length = [f"content-length: {len(body)}"] if body else []
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close", *length, *headers, "", body]
    return "\r\n".join(lines).encode()


TOKEN = re.search(r"# TOKEN=(\S+)", (EXAMPLES / "jwt.yaml").read_text())[1]  # type: ignore[index]
CLIENT_HELLO = bytes.fromhex("16030100050100000100") + b"\0"
EXCHANGES: dict[str, dict[int, list[bytes | tuple[bytes, str]]]] = {
    "static": {10000: [get("/"), get("/healthz"), get("/", "x-canary: yes"), get("/x", host="old.example.com")]},
    "tcp": {10001: [get("/echo"), get("/status/404")]},
    "retries": {10000: [get("/status/503"), get("/never/status/503"), get("/"), get("/status/404")]},
    "traffic-split": {
        10000: [
            get("/", "x-version: v2"),
            get("/", "cookie: a=b; version=v1; c=d"),
            get("/status/404", "x-version: v2"),
        ]
    },
    "rewrites": {
        10000: [
            get("/a?b=c", host="old.example.com"),
            get("/health"),
            get("/api?x=1"),
            get("/api/y"),
            get("/apis"),
            get("/users/12/list"),
            get("/shop/fr/a/b"),
            get("/echo"),
        ]
    },
    "headers": {10000: [get("/echo", "x-secret: 1", "x-tag: first", "x-from: forged"), get("/status/500")]},
    "local-replies": {10000: [get("/none"), get("/service"), get("/down"), get("/teapot")]},
    "sticky-sessions": {
        10000: [
            *(get("/", f"x-user: {user}") for user in range(20)),
            *(get("/", f"cookie: session={user}") for user in range(10)),
            *(get("/maglev", f"x-user: {user}") for user in range(20)),
        ]
    },
    "resilience": {10000: [get("/"), get("/closed"), get("/status/500")]},
    "edge": {
        10000: [
            get("/a/../echo"),
            get("//echo"),
            get("/a%2fb"),
            get("/admin", method="POST"),
            get("/echo", "x_y: 1"),
            get("/echo", "x-forwarded-for: 1.2.3.4", "x-envoy-max-retries: 5"),
            get("/echo", host="shop.example.com:8080"),
            get("/", host="other.example.com"),
            get("/", "x: " + "y" * 17000),
        ]
    },
    "jwt": {
        10000: [
            get("/"),
            get("/api"),
            get("/api/echo", f"authorization: Bearer {TOKEN}"),
            get("/api", f"authorization: Bearer {TOKEN[:-9]}"),
            get("/api", f"authorization: Bearer {TOKEN}", method="DELETE"),
        ]
    },
    "rbac": {
        10000: [
            get("/"),
            get("/", method="POST"),
            get("/echo", "x-role: editor", method="POST"),
            get("/internal/x", "x-role: editor"),
            get("/a/../internal"),
        ]
    },
    "upgrades": {10000: [get("/"), get("/echo", "upgrade: h2c")]},
    "proxy-protocol": {
        10000: [
            b"PROXY TCP4 203.0.113.9 192.0.2.7 99 80\r\n" + get("/"),
            get("/"),
            b"PROXY TCP4 nonsense\r\n" + get("/"),
        ]
    },
    "protocol-detection": {10000: [get("/status/404"), b"\0\1\2\3\4\5\6\7\n\n", b"", CLIENT_HELLO]},
    "tls": {
        10000: [
            get("/"),
            (get("/echo"), "shop.example.com"),
            (get("/echo", host="admin.example.com"), "admin.example.com"),
            (get("/status/404"), "elsewhere.example.com"),
        ]
    },
    "mutual-tls": {
        15001: [get("/"), get("/echo"), get("/status/503")],
        15006: [get("/"), (get("/"), "service.default")],
    },
    "transparent-sidecar": {
        15001: [get("/", host="reviews"), get("/", host="reviews.default"), get("/", host="elsewhere")],
        15006: [get("/echo"), get("/status/503")],
    },
}
"""Bytes of one connection each, by example and by port of its listeners; with a server name they go over TLS."""

EITHER = {"tcp", "retries"}
"""Of these two endpoints serve in turn, and which comes first is drawn."""

ADS = {"ads", "ads-sotw"}
"""These need a control plane: ``test_mesh.py`` runs their like."""


def test_no_example_is_left_out() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == EXCHANGES.keys() | ADS
    assert len(EXCHANGES) >= 12


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Origin, Origin]]:
    directory = tmp_path_factory.mktemp("origins")
    with Origin("first", "v1", directory) as first, Origin("second", "v2", directory) as second:
        yield first, second


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples look for in ./certs."""
    return make_example_certificates(tmp_path_factory.mktemp("certs"))


def placed(name: str, origins: tuple[Origin, Origin], certificates: Path) -> tuple[str, dict[int, int]]:
    """The example with ports of this run, and where its listeners are."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    first = free_ports(len(EXCHANGES[name]))
    ports = {port: first + index for index, port in enumerate(EXCHANGES[name])}
    for old, new in {9901: 0, 9080: origins[0].port, 9081: origins[1].port, **ports}.items():
        text = text.replace(f"port_value: {old}}}", f"port_value: {new}}}")
    return with_certificates(text, certificates), ports


def exchange(port: int, data: bytes | tuple[bytes, str]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        if isinstance(data, bytes):
            return _exchange(sock, data)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock, server_hostname=data[1]) as secure:
            shown = secure.getpeercert(binary_form=True) or b""
            return shown.hex().encode() + b" " + _exchange(secure, data[0])


def _exchange(sock: socket.socket, data: bytes) -> bytes:
    received = b""
    try:
        sock.sendall(data)
        while more := sock.recv(65536):
            received += more
    except OSError:
        pass
    return received


_VARYING = re.compile(
    rb"(?i)((?:date|x-request-id|x-envoy-upstream-service-time|x-served-by): )[^\r]*|(\"x-request-id\", )\"[^\"]*\""
)


def comparable(name: str, answer: bytes, ports: dict[int, int]) -> bytes:
    """Without what differs from one answer to the next, whoever gives it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if body.startswith(b'{"method"'):
        seen: Any = json.loads(body)
        del seen["head"]
        seen["headers"] = [[name, "" if name.lower() == "x-request-id" else value] for name, value in seen["headers"]]
        body = json.dumps(seen).encode()
    answer = _VARYING.sub(rb"\1", head) + b"\r\n\r\n" + body
    if name in EITHER:
        answer = re.sub(rb"first|second", b"either", re.sub(rb"\bv[12]\b", b"v", answer))
        answer = re.sub(rb"content-length: \d+", b"content-length", answer)
    for old, new in ports.items():
        answer = answer.replace(str(new).encode(), str(old).encode())
    return answer


@pytest.mark.parametrize("name", EXCHANGES)
def test_answers_are_envoys(name: str, origins: tuple[Origin, Origin], certificates: Path, tmp_path: Path) -> None:
    ours, our_ports = placed(name, origins, certificates)
    theirs, their_ports = placed(name, origins, certificates)
    with Proxy(ours, tmp_path) as proxy, Envoy(theirs, tmp_path) as envoy:
        proxy.wait_ready()
        envoy.wait_ready()
        for port, connections in EXCHANGES[name].items():
            for data in connections:
                found = comparable(name, exchange(our_ports[port], data), our_ports)
                expected = comparable(name, exchange(their_ports[port], data), their_ports)
                assert found == expected, data[:300]
                silent = data[:5] == b"PROXY" or data is CLIENT_HELLO or name == "mutual-tls"
                assert expected or silent, "an answer without a byte shows nothing"
