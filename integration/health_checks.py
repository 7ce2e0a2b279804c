"""What tests of health checks share: endpoints that answer by a script, and a run of one program against them."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


STATS = ("attempt", "success", "failure", "network_failure", "passive_failure", "degraded", "healthy")


def response(status: int = 200, headers: str = "", body: str = "") -> bytes:
    return f"HTTP/1.1 {status} S\r\n{headers}content-length: {len(body)}\r\n\r\n{body}".encode()


def always(answer: bytes | None) -> Script:
    return lambda _number: answer


@dataclass(slots=True)
class Endpoint:
    """A server that answers by its script, and what it heard; ``begin`` makes it count anew. It speaks TLS if it has a ``context``."""

    script: Script
    listener: socket.socket
    context: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)
    handshakes: set[tuple[str | None, str | None]] = field(default_factory=set)
    connections: int = 0
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def begin(self) -> None:
        with self.lock:
            self.heard.clear()
            self.handshakes.clear()
            self.connections = self.count = 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self.context is None:
            return connection
        names: list[str | None] = []
        with self.lock:  # the callback belongs to one handshake at a time
            self.context.sni_callback = lambda _sock, name, _context: names.append(name)
            secure = self.context.wrap_socket(connection, server_side=True)
            self.handshakes.add((names[0] if names else None, secure.selected_alpn_protocol()))
        return secure

    def _talk(self, connection: socket.socket) -> None:
        try:
            connection = self._secured(connection)
        except OSError:
            connection.close()
            return
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
    handshakes: dict[str, set[tuple[str | None, str | None]]]


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
        {name: set(each.handshakes) for name, each in endpoints.items()},
    )


def _shape(name: str, counts: dict[str, int]) -> dict[str, int]:
    """Gauges as they are, counters by whether they count: how many checks there were is a matter of time."""
    values = {stat: counts.get(f"cluster.{name}.health_check.{stat}", -1) for stat in STATS}
    return {stat: value if stat in ("degraded", "healthy") else min(value, 1) for stat, value in values.items()}


def both(tmp_path: Path, endpoints: dict[str, Endpoint], make: Callable[[Path], Sequence[Json]]) -> tuple[Seen, Seen]:
    logs = {side: tmp_path / f"{side}.events" for side in ("isthmus", "envoy")}
    ours, theirs = (run(side, tmp_path, make(log), endpoints, log) for side, log in logs.items())
    return ours, theirs
