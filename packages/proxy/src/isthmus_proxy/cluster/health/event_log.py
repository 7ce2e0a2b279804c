"""Changes of health as lines of JSON, as Envoy's file sink writes them (data.core.v3.HealthCheckEvent)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.host_check import Failure

Write = Callable[[bytes], None]


class JsonHealthEventLog:
    """Gives each of ``writers`` one line an event; ``timestamp`` makes the wall-clock time as RFC 3339 text."""

    __slots__ = ("_cluster", "_kind", "_timestamp", "_writers")

    def __init__(self, cluster: str, kind: str, writers: Sequence[Write], timestamp: Callable[[], str]) -> None:
        self._cluster = cluster
        self._kind = kind
        self._writers = writers
        self._timestamp = timestamp

    def ejected(self, endpoint: Endpoint, failure: Failure, status: int) -> None:
        """``endpoint`` became unhealthy."""
        self._put(endpoint, "eject_unhealthy_event", {"failure_type": failure.value, "http_status_code": status})

    def added(self, endpoint: Endpoint, *, first_check: bool) -> None:
        """``endpoint`` became healthy."""
        self._put(endpoint, "add_healthy_event", {"first_check": first_check})

    def failed(self, endpoint: Endpoint, failure: Failure, status: int, *, first_check: bool) -> None:
        """A check failed."""
        what: dict[str, object] = {
            "failure_type": failure.value,
            "first_check": first_check,
            "http_status_code": status,
        }
        self._put(endpoint, "health_check_failure_event", what)

    def succeeded(self, endpoint: Endpoint) -> None:
        """A check succeeded."""
        self._put(endpoint, "successful_health_check_event", {})

    def degraded(self, endpoint: Endpoint, *, now: bool) -> None:
        """``endpoint`` calls itself degraded, or no longer does."""
        self._put(endpoint, "degraded_healthy_host" if now else "no_longer_degraded_host", {})

    def _put(self, endpoint: Endpoint, name: str, what: dict[str, object]) -> None:
        host, port = endpoint.address
        region, zone, sub_zone = endpoint.locality
        event = {
            "health_checker_type": self._kind,
            "host": {
                "socket_address": {
                    "protocol": "TCP",
                    "address": host,
                    "port_value": port,
                    "resolver_name": "",
                    "ipv4_compat": False,
                    "network_namespace_filepath": "",
                }
            },
            "cluster_name": self._cluster,
            name: what,
            "timestamp": self._timestamp(),
            "locality": {"region": region, "zone": zone, "sub_zone": sub_zone},
        }
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        for write in self._writers:
            write(line)
