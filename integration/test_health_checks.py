"""Active health checks: the same bootstrap file in a live Envoy and in our proxy, the same endpoints that answer in every way.

Compared are the checks as they arrive, what becomes of the endpoints, the events that are logged and which stats count.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from differential.side import command
from harness.eventually import eventually
from harness.http import fetch
from harness.ports import free_port
from harness.process import Process

Json = dict[str, Any]
Script = Callable[[int], bytes | None]
"""Answers check number n, counted from 1: bytes, nothing (the check times out), or None to close the connection."""

CHECKS = 6
"""What is compared is that many checks of each endpoint."""


def response(status: int = 200, headers: str = "", body: str = "") -> bytes:
    return f"HTTP/1.1 {status} S\r\n{headers}content-length: {len(body)}\r\n\r\n{body}".encode()


def always(answer: bytes | None) -> Script:
    return lambda _number: answer


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
STATS = ("attempt", "success", "failure", "network_failure", "passive_failure", "degraded", "healthy")


@dataclass(slots=True)
class Endpoint:
    """A server that answers by its script, and what it heard; ``begin`` makes it count anew."""

    script: Script
    listener: socket.socket
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def begin(self) -> None:
        with self.lock:
            self.heard.clear()
            self.connections = self.count = 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                with self.lock:
                    self.count += 1
                    self.heard.append(data)
                    answer = self.script(self.count)
                if answer is None:
                    return
                connection.sendall(answer)


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


def address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, port: int, log: Path, check: Json, endpoint: Json | None = None) -> Json:
    sink = {
        "name": "envoy.health_check.event_sink.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink",
            "event_log_path": str(log),
        },
    }
    checked = {
        "timeout": "5s",
        "interval": "0.02s",
        "no_traffic_interval": "0.02s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
        "event_logger": [sink],
        **check,
    }
    host = {"endpoint": {"address": address(port), **(endpoint or {})}}
    return {
        "name": name,
        "type": "STATIC",
        "health_checks": [checked],
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


@dataclass(frozen=True, slots=True)
class Seen:
    """What one side did."""

    heard: dict[str, list[bytes]]
    flags: dict[str, str]
    counted: dict[str, dict[str, int]]
    events: dict[str, list[Json]]
    connections: dict[str, bool]


def run(side: str, folder: Path, clusters: Sequence[Json], endpoints: dict[str, Endpoint], log: Path) -> Seen:
    """Run one side until every endpoint had its checks."""
    admin = free_port()
    for endpoint in endpoints.values():
        endpoint.begin()
    bootstrap = folder / f"{side}.json"
    bootstrap.write_text(json.dumps({"admin": {"address": address(admin)}, "static_resources": {"clusters": clusters}}))
    names = [each["name"] for each in clusters]
    with Process(side, command(side, bootstrap), log=folder / f"{side}.log", cwd=folder) as process:
        host = f"127.0.0.1:{admin}"
        process.wait_until(lambda: fetch(host, "/ready").status in (200, 503))

        def stats() -> dict[str, int]:
            lines = fetch(host, "/stats?filter=health_check").body.decode().splitlines()
            return {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}

        def checked() -> bool:
            counts = stats()
            return all(counts.get(f"cluster.{name}.health_check.attempt", 0) > CHECKS for name in names)

        eventually(checked)
        lines = fetch(host, "/clusters").body.decode().splitlines()
        flags = {line.split("::")[0]: line.split("::")[3] for line in lines if "::health_flags::" in line}
        counts = stats()
    found = [json.loads(line) for line in log.read_text().splitlines()]
    events: dict[str, list[Json]] = {name: [] for name in names}
    for event in found:
        assert event.pop("timestamp").endswith("Z")
        event["host"]["socket_address"].pop("port_value")
        events[event["cluster_name"]].append(event)
    return Seen(
        {name: each.heard[:CHECKS] for name, each in endpoints.items()},
        flags,
        {name: _shape(name, counts) for name in names},
        {name: each[:CHECKS] for name, each in events.items()},
        {name: each.connections > 1 for name, each in endpoints.items()},
    )


def _shape(name: str, counts: dict[str, int]) -> dict[str, int]:
    """Gauges as they are, counters by whether they count: how many checks there were is a matter of time."""
    values = {stat: counts.get(f"cluster.{name}.health_check.{stat}", -1) for stat in STATS}
    return {stat: value if stat in ("degraded", "healthy") else min(value, 1) for stat, value in values.items()}


def both(tmp_path: Path, endpoints: dict[str, Endpoint], make: Callable[[Path], Sequence[Json]]) -> tuple[Seen, Seen]:
    logs = {side: tmp_path / f"{side}.events" for side in ("isthmus", "envoy")}
    ours, theirs = (run(side, tmp_path, make(log), endpoints, log) for side, log in logs.items())
    return ours, theirs


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
