"""Active health checks: the same bootstrap file in a live Envoy and in our proxy, the same endpoints that answer in every way.

Compared are the checks as they arrive, what becomes of the endpoints, the events that are logged and which stats count.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from harness.ports import free_port
from health_checks import Endpoint, Json, Script, always, both, cluster, response


def first(count: int, before: bytes | None, after: bytes | None) -> Script:
    return lambda number: before if number <= count else after


OK, DOWN = response(), response(503)
HTTP: Json = {"path": "/healthz"}
RANGE = [{"start": 200, "end": 300}]
HELLO, WORLD = b"hello".hex(), b"world".hex()

CASES: dict[str, tuple[Script, Json]] = {
    "ok": (always(OK), {"http_health_check": HTTP}),
    "named": (
        always(OK),
        {
            "http_health_check": {
                "path": "/p?q=1",
                "host": "app.example",
                "request_headers_to_add": [
                    {"header": {"key": "x-a", "value": "1"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
                ],
                "request_headers_to_remove": ["user-agent"],
            }
        },
    ),
    "head": (always(response(200)), {"http_health_check": {**HTTP, "method": "HEAD"}, "reuse_connection": False}),
    "post": (always(OK), {"http_health_check": {**HTTP, "method": "POST"}}),
    "204": (always(b"HTTP/1.1 204 S\r\n\r\n"), {"http_health_check": HTTP}),
    "204 expected": (always(b"HTTP/1.1 204 S\r\n\r\n"), {"http_health_check": {**HTTP, "expected_statuses": RANGE}}),
    "down": (always(DOWN), {"http_health_check": HTTP}),
    "wrong after two": (first(2, OK, DOWN), {"http_health_check": HTTP}),
    "retriable after two": (
        first(2, OK, DOWN),
        {"http_health_check": {**HTTP, "retriable_statuses": [{"start": 503, "end": 504}]}},
    ),
    "comes back": (first(2, DOWN, OK), {"http_health_check": HTTP}),
    "degraded": (always(response(200, "x-envoy-degraded: true\r\n")), {"http_health_check": HTTP}),
    "degraded for a while": (first(3, response(200, "x-envoy-degraded: 1\r\n"), OK), {"http_health_check": HTTP}),
    "body": (
        always(response(200, "", "hello big world")),
        {"http_health_check": {**HTTP, "receive": [{"text": HELLO}, {"text": WORLD}]}},
    ),
    "other body": (always(response(200, "", "bye")), {"http_health_check": {**HTTP, "receive": [{"text": HELLO}]}}),
    "closes": (always(response(200, "connection: close\r\n")), {"http_health_check": HTTP}),
    "resets": (always(None), {"http_health_check": HTTP}),
    "resets after two": (first(2, OK, None), {"http_health_check": HTTP}),
    "garbage": (always(b"HTTP/1.1 quux\r\n\r\n"), {"http_health_check": HTTP}),
    "hangs": (always(b""), {"http_health_check": HTTP, "timeout": "0.1s"}),
    "logs all": (
        first(3, OK, None),
        {"http_health_check": HTTP, "always_log_health_check_failures": True, "always_log_health_check_success": True},
    ),
    "logs its return": (
        first(2, DOWN, OK),
        {"http_health_check": HTTP, "always_log_health_check_failures": True, "always_log_health_check_success": True},
    ),
    "logs degradation": (
        always(response(200, "x-envoy-degraded: 1\r\n")),
        {"http_health_check": HTTP, "always_log_health_check_success": True},
    ),
    "connects": (always(b""), {"tcp_health_check": {}}),
    "talks": (always(b"..hello, world"), {"tcp_health_check": {"send": {"text": HELLO}, "receive": [{"text": WORLD}]}}),
    "talks of others": (
        always(b"bye"),
        {"tcp_health_check": {"send": {"text": HELLO}, "receive": [{"text": WORLD}]}, "timeout": "0.1s"},
    ),
    "talks once": (
        always(b"world"),
        {"tcp_health_check": {"send": {"text": HELLO}, "receive": [{"text": WORLD}]}, "reuse_connection": False},
    ),
    "hangs up": (always(None), {"tcp_health_check": {"send": {"text": HELLO}, "receive": [{"text": WORLD}]}}),
}
GRPC = {"serving": b"\x08\x01", "not serving": b"\x08\x02", "no such service": None}


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, Endpoint]]:
    made = {name: Endpoint(script, socket.create_server(("127.0.0.1", 0))) for name, (script, _) in CASES.items()}
    for endpoint in made.values():
        threading.Thread(target=endpoint.serve, daemon=True).start()
    yield made
    for endpoint in made.values():
        endpoint.listener.close()


class _Health(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """grpc.health.v1.Health for the services of ``GRPC``; notes what is asked, and how."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, tuple[str, ...]]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        def check(request: bytes, context: grpc.ServicerContext) -> bytes:
            extra = tuple(str(value) for key, value in context.invocation_metadata() if key == "x-a")
            self.asked.append((details.method, request, extra))
            known = GRPC.get(request[2:].decode())
            if known is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return known

        return grpc.unary_unary_rpc_method_handler(check)


@pytest.fixture(scope="module")
def health() -> Iterator[tuple[_Health, int]]:
    handler = _Health()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(None)


def test_checks_are_sent_judged_logged_and_counted_as_by_envoy(tmp_path: Path, endpoints: dict[str, Endpoint]) -> None:
    ours, theirs = both(
        tmp_path,
        endpoints,
        lambda log: [cluster(name, endpoints[name].port, log, check) for name, (_, check) in CASES.items()],
    )
    # Envoy's gauge only rises as long as an endpoint is there.
    assert theirs.counted["degraded for a while"].pop("degraded") == 1
    assert ours.counted["degraded for a while"].pop("degraded") == 0
    for name in CASES:
        assert (name, ours.flags[name], ours.counted[name]) == (name, theirs.flags[name], theirs.counted[name])
        assert (name, ours.heard[name]) == (name, theirs.heard[name])
        assert (name, ours.events[name]) == (name, theirs.events[name])
        assert (name, ours.connections[name]) == (name, theirs.connections[name])
    assert ours.flags["down"] == "/failed_active_hc"
    assert ours.flags["hangs"] == "/failed_active_hc/active_hc_timeout"


def test_endpoints_say_where_and_whether_they_are_checked(tmp_path: Path, endpoints: dict[str, Endpoint]) -> None:
    heard = {name: endpoints[name] for name in ("ok", "named")}
    dead = free_port()

    def make(log: Path) -> list[Json]:
        own = {"hostname": "own.example", "port_value": endpoints["ok"].port}
        http = {"http_health_check": HTTP}
        return [
            cluster("own", dead, log, http, {"health_check_config": own}),
            cluster("alt", dead, log, {**http, "alt_port": endpoints["named"].port}),
            cluster("refused", dead, log, http),
        ]

    ours, theirs = both(tmp_path, heard, make)
    assert (ours.heard, ours.flags, ours.counted, ours.events) == (
        theirs.heard,
        theirs.flags,
        theirs.counted,
        theirs.events,
    )
    assert ours.flags == {"own": "healthy", "alt": "/failed_active_hc", "refused": "/failed_active_hc"}


def test_grpc_services_are_asked_as_by_envoy(tmp_path: Path, health: tuple[_Health, int]) -> None:
    handler, port = health
    asked = []

    def make(log: Path) -> list[Json]:
        asked.append(list(handler.asked))
        handler.asked.clear()
        metadata = [{"header": {"key": "x-a", "value": "1"}}]
        return [
            {
                **cluster(
                    service, port, log, {"grpc_health_check": {"service_name": service, "initial_metadata": metadata}}
                ),
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    }
                },
            }
            for service in GRPC
        ]

    ours, theirs = both(tmp_path, {}, make)
    assert ours == theirs
    assert set(asked[1]) == set(handler.asked)
    assert ours.flags == {
        "serving": "healthy",
        "not serving": "/failed_active_hc",
        "no such service": "/failed_active_hc",
    }
