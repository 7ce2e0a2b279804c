"""Active health checks over TLS: handshakes, checks and what becomes of the endpoints, as with a live Envoy."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_checks import Endpoint, Json, always, both, cluster, response
from isthmus_proxy.tls.testing import Files, make_files

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
CRITERIA: Json = {"transport_socket_match_criteria": {"checked": "securely"}}
HTTP: Json = {"http_health_check": {"path": "/healthz"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("certificates"))


def secured(files: Files, root: Path | None = None, alpn: tuple[str, ...] = ()) -> Json:
    roots = root or files.authority.root.certificate
    common = {"validation_context": {"trusted_ca": {"filename": str(roots)}}, "alpn_protocols": list(alpn)}
    return {"name": "tls", "typed_config": {"@type": TLS, "sni": "server.example", "common_tls_context": common}}


def matched(files: Files) -> Json:
    return {
        "transport_socket_matches": [
            {"name": "secure", "match": {"checked": "securely"}, "transport_socket": secured(files)}
        ]
    }


def cases(files: Files) -> dict[str, tuple[Json, Json]]:
    """The health check and the cluster of each."""
    socket_of: Json = {"transport_socket": secured(files)}
    named: Json = {"transport_socket": secured(files, alpn=("one", "two"))}
    receive = {"text": b"200 S".hex()}
    return {
        "http": (HTTP, socket_of),
        "not kept": ({**HTTP, "reuse_connection": False}, socket_of),
        "context's protocols": (HTTP, named),
        "own protocols": ({**HTTP, "tls_options": {"alpn_protocols": ["three", "http/1.1"]}}, named),
        "connects": ({"tcp_health_check": {}}, socket_of),
        "talks": ({"tcp_health_check": {"send": {"text": "0a"}, "receive": [receive]}}, socket_of),
        "by criteria": ({**HTTP, **CRITERIA}, matched(files)),
        "stranger": (HTTP, {"transport_socket": secured(files, files.stranger.root.certificate)}),
    }


@pytest.fixture(scope="module")
def endpoints(files: Files) -> Iterator[dict[str, Endpoint]]:
    made = {}
    for name in cases(files):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.server.certificate, files.server.key)
        context.set_alpn_protocols(["http/1.1", "two", "three"])
        made[name] = Endpoint(always(response()), socket.create_server(("127.0.0.1", 0)), context)
        threading.Thread(target=made[name].serve, daemon=True).start()
    yield made
    for endpoint in made.values():
        endpoint.listener.close()


def test_checks_go_over_tls_as_with_envoy(tmp_path: Path, files: Files, endpoints: dict[str, Endpoint]) -> None:
    def make(log: Path) -> list[Json]:
        made = []
        for name, (check, options) in cases(files).items():
            made.append({**cluster(name, endpoints[name].port, log, check), **options})
        return made

    ours, theirs = both(tmp_path, endpoints, make)
    for name in endpoints:
        assert (name, ours.flags[name], ours.counted[name]) == (name, theirs.flags[name], theirs.counted[name])
        assert (name, ours.heard[name]) == (name, theirs.heard[name])
        assert (name, ours.events[name]) == (name, theirs.events[name])
        assert (name, ours.handshakes[name]) == (name, theirs.handshakes[name])
        assert (name, ours.connections[name]) == (name, theirs.connections[name])
    assert ours.flags["http"] == ours.flags["by criteria"] == ours.flags["connects"] == "healthy"
    assert ours.flags["stranger"] == "/failed_active_hc"
    assert ours.handshakes["context's protocols"] == {("server.example", "two")}
    assert ours.handshakes["own protocols"] == {("server.example", "http/1.1")}
