"""Health checks as they are configured: what they compile to, and the text with which they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from isthmus_proxy.cluster.health.model import EndpointHealthCheck, GrpcCheck, HttpCheck, TcpCheck
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError

HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SPEAKS_HTTP2 = {
    "typed_extension_protocol_options": {
        HTTP2: {"@type": f"type.googleapis.com/{HTTP2}", "explicit_http_config": {"http2_protocol_options": {}}}
    }
}
SINK = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
BASIC: dict[str, Any] = {
    "timeout": "1s",
    "interval": "5s",
    "unhealthy_threshold": 3,
    "healthy_threshold": 2,
    "http_health_check": {"path": "/h"},
}


def cluster(check: dict[str, Any], **fields: object) -> ClusterConfig:
    message = Cluster()
    fill(message, {"name": "c", "health_checks": [check], **fields})
    return compile_cluster(message)


def test_intervals_follow_each_other() -> None:
    config = cluster(BASIC).health_check
    assert config is not None
    assert config.check == HttpCheck(b"/h")
    assert (config.unhealthy_interval, config.unhealthy_edge_interval, config.healthy_edge_interval) == (5.0, 5.0, 5.0)
    assert (config.no_traffic_interval, config.no_traffic_healthy_interval) == (60.0, 60.0)
    config = cluster({**BASIC, "unhealthy_interval": "9s", "no_traffic_interval": "7s"}).health_check
    assert config is not None
    assert (config.unhealthy_edge_interval, config.healthy_edge_interval) == (9.0, 5.0)
    assert config.no_traffic_healthy_interval == 7.0


def test_everything_that_can_be_said_of_an_http_check() -> None:
    http = {
        "path": "/h?x=1",
        "host": "h.example",
        "method": "PUT",
        "request_headers_to_add": [{"header": {"key": "X-A", "value": "1"}}],
        "request_headers_to_remove": ["User-Agent"],
        "expected_statuses": [{"start": 200, "end": 205}, {"start": 301, "end": 302}],
        "retriable_statuses": [{"start": 500, "end": 504}],
        "receive": [{"text": "6F6b"}, {"binary": "IQ=="}],
        "response_buffer_size": 10,
        "codec_client_type": "HTTP2",
    }
    sinks = [{"name": "f", "typed_config": {"@type": SINK, "event_log_path": "/tmp/b"}}]
    check = {
        **BASIC,
        "http_health_check": http,
        "initial_jitter": "0.5s",
        "interval_jitter": "2s",
        "interval_jitter_percent": 20,
        "reuse_connection": False,
        "event_log_path": "/tmp/a",
        "event_logger": sinks,
        "always_log_health_check_failures": True,
        "always_log_health_check_success": True,
    }
    config = cluster(check, ignore_health_on_host_removal=True, **SPEAKS_HTTP2)
    assert config.ignore_health_on_host_removal
    compiled = config.health_check
    assert compiled is not None
    found = compiled.check
    assert isinstance(found, HttpCheck)
    assert (found.path, found.host, found.method, found.http2) == (b"/h?x=1", b"h.example", b"PUT", True)
    assert (found.expected, found.retriable) == (((200, 205), (301, 302)), ((500, 504),))
    assert (found.receive, found.response_buffer_size) == ((b"ok", b"!"), 10)
    assert [edit.name for edit in found.edits.add] == [b"x-a"]
    assert found.edits.remove == (b"user-agent",)
    assert (compiled.initial_jitter, compiled.interval_jitter, compiled.interval_jitter_percent) == (0.5, 2.0, 20)
    assert (compiled.reuse_connection, compiled.event_logs) == (False, ("/tmp/a", "/tmp/b"))
    assert (compiled.always_log_failures, compiled.always_log_success, compiled.kind) == (True, True, "HTTP")


def other(kind: str, **fields: object) -> dict[str, Any]:
    return {**{name: value for name, value in BASIC.items() if name != "http_health_check"}, kind: fields}


def test_tcp_and_grpc_checks() -> None:
    config = cluster(other("tcp_health_check", send={"text": "70"}, receive=[{"text": "71"}])).health_check
    assert config is not None
    assert (config.check, config.kind) == (TcpCheck(b"p", (b"q",)), "TCP")
    config = cluster(other("grpc_health_check", service_name="a.B", authority="x"), **SPEAKS_HTTP2).health_check
    assert config is not None
    assert (config.check, config.kind) == (GrpcCheck("a.B", b"x"), "GRPC")


def test_what_endpoints_say_of_their_own_checks() -> None:
    def endpoint(port: int, **own: object) -> dict[str, Any]:
        address = {"socket_address": {"address": "10.0.0.1", "port_value": port}}
        return {"endpoint": {"address": address, "health_check_config": own}}

    place = {"socket_address": {"address": "10.0.0.9", "port_value": 7}}
    hosts = [
        endpoint(1, port_value=9, hostname="h"),
        endpoint(2, disable_active_health_check=True),
        endpoint(3, address=place),
    ]
    config = cluster(BASIC, load_assignment={"cluster_name": "c", "endpoints": [{"lb_endpoints": hosts}]})
    assert config.assignment is not None
    found = [each.health_check for each in config.assignment.localities[0].endpoints]
    assert found == [
        EndpointHealthCheck(port=9, hostname="h"),
        EndpointHealthCheck(disabled=True),
        EndpointHealthCheck("10.0.0.9", 7),
    ]


@pytest.mark.parametrize(
    ("change", "path", "reason"),
    [
        ({"timeout": "0s"}, "timeout", "more than zero"),
        ({"interval": None}, "interval", "is missing"),
        ({"healthy_threshold": None}, "healthy_threshold", "is missing"),
        ({"http_health_check": None}, "health_checks[0]", "needs one of"),
        ({"http_health_check": {"path": ""}}, "http_health_check.path", "required"),
        ({"http_health_check": {"path": "/a b"}}, "http_health_check.path", "blanks"),
        ({"http_health_check": {"path": "/", "host": "a\r\nb"}}, "http_health_check.host", "not a host name"),
        ({"http_health_check": {"path": "/", "method": "CONNECT"}}, "http_health_check.method", "cannot be used"),
        (
            {"http_health_check": {"path": "/", "codec_client_type": "HTTP2"}},
            "codec_client_type",
            "http2_protocol_options",
        ),
        (
            {"http_health_check": {"path": "/", "codec_client_type": "HTTP3"}},
            "codec_client_type",
            "only HTTP1 or HTTP2",
        ),
        ({"http_health_check": {"path": "/", "send": {"text": "00"}}}, "http_health_check.send", "is not supported"),
        (
            {"http_health_check": {"path": "/", "expected_statuses": [{"start": 300, "end": 300}]}},
            "expected_statuses[0]",
            "within [100, 600)",
        ),
        ({"http_health_check": {"path": "/", "receive": [{"text": "xyz"}]}}, "receive[0].text", "hexadecimal"),
        ({"http_health_check": None, "grpc_health_check": {}}, "grpc_health_check", "http2_protocol_options"),
        ({"http_health_check": None, "custom_health_check": {"name": "x"}}, "custom_health_check", "is not supported"),
    ],
)
def test_what_cannot_be_is_refused_by_path(change: dict[str, Any], path: str, reason: str) -> None:
    check = {name: value for name, value in {**BASIC, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        cluster(check)
    assert path in str(refused.value)
    assert reason in str(refused.value)


def test_only_one_check_is_supported() -> None:
    message = Cluster()
    fill(message, {"name": "c", "health_checks": [BASIC, BASIC]})
    with pytest.raises(ConfigError, match="at most one is supported, as in Envoy"):
        compile_cluster(message)


def test_checks_over_tls_say_what_they_need() -> None:
    tls = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
    check = {
        **BASIC,
        "tls_options": {"alpn_protocols": ["a", "b"]},
        "transport_socket_match_criteria": {"mode": "checked"},
    }
    config = cluster(check, transport_socket={"name": "tls", "typed_config": tls})
    assert config.secured
    assert config.health_check is not None
    assert config.health_check.alpn_protocols == ("a", "b")
    assert config.health_check.transport_criteria == (("mode", "checked"),)
    plain = cluster(BASIC).health_check
    assert plain is not None
    assert (plain.alpn_protocols, plain.transport_criteria) == ((), None)
