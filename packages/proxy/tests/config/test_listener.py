"""Listeners as they come from a file or a control plane: what they compile to, and what is refused."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    ConnectionLimitConfig,
    ConnectionRbacConfig,
    DirectResponseConfig,
    FilterChainMatch,
    HttpInspectorConfig,
    ListenerConfig,
    ListenerFilterConfig,
    OriginalDstConfig,
    PipeAddress,
    PortRange,
    Predicate,
    ProxyProtocolConfig,
    SocketAddress,
    TcpProxyConfig,
    TlsInspectorConfig,
)
from isthmus_proxy.rbac.model import Anything, DestinationPort, Policy, Rules

EXTENSION = "type.googleapis.com/envoy.extensions.filters."


def typed(kind: str, **fields: object) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": EXTENSION + kind, **fields}}


RESPONSE = typed("network.direct_response.v3.Config", response={"inline_string": "hi"})
TCP = typed("network.tcp_proxy.v3.TcpProxy", stat_prefix="t", cluster="c")


def chain(*filters: dict[str, Any], **match: object) -> dict[str, Any]:
    return {"filters": list(filters) or [RESPONSE], "filter_chain_match": match}


def compiled(**fields: object) -> ListenerConfig:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 80}}
    proto = Listener()
    fill(proto, {"name": "l", "address": address, "filter_chains": [chain()], **fields})
    return compile_listener(proto)


def refused(**fields: object) -> str:
    with pytest.raises(ConfigError) as caught:
        compiled(**fields)
    return str(caught.value)


def test_every_criterion() -> None:
    config = compiled(
        filter_chains=[
            chain(
                destination_port=443,
                prefix_ranges=[{"address_prefix": "10.0.0.5", "prefix_len": 8}],
                server_names=["A.b", "*.C"],
                transport_protocol="tls",
                application_protocols=["h2"],
                direct_source_prefix_ranges=[{"address_prefix": "::1", "prefix_len": 128}],
                source_type="EXTERNAL",
                source_prefix_ranges=[{"address_prefix": "0.0.0.0"}],
                source_ports=[1, 2],
            )
        ]
    )
    assert config.filter_chains[0].match == FilterChainMatch(
        443,
        (ipaddress.ip_network("10.0.0.0/8"),),
        ("a.b", "*.c"),
        "tls",
        ("h2",),
        (ipaddress.ip_network("::1/128"),),
        "EXTERNAL",
        (ipaddress.ip_network("0.0.0.0/0"),),
        (1, 2),
    )
    assert config.listener_filters == (ListenerFilterConfig(TlsInspectorConfig()),)


def test_listener_filters() -> None:
    rule: dict[str, Any] = {"destination_port_range": {"start": 1, "end": 9}}
    off = {"or_match": {"rules": [rule, {"and_match": {"rules": [{"any_match": True}, {"not_match": rule}]}}]}}
    config = compiled(
        listener_filters=[
            typed("listener.tls_inspector.v3.TlsInspector", max_client_hello_size=4096),
            {**typed("listener.http_inspector.v3.HttpInspector"), "filter_disabled": off},
            typed("listener.original_dst.v3.OriginalDst"),
            typed(
                "listener.proxy_protocol.v3.ProxyProtocol",
                allow_requests_without_proxy_protocol=True,
                disallowed_versions=["V2"],
                stat_prefix="p",
            ),
        ],
        listener_filters_timeout="0.1s",
        continue_on_listener_filters_timeout=True,
        use_original_dst=True,
        bind_to_port=False,
        stat_prefix="s",
    )
    ports = Predicate("port", PortRange(1, 9))
    inner = Predicate("and", rules=(Predicate("any"), Predicate("not", rules=(ports,))))
    assert config.listener_filters == (
        ListenerFilterConfig(TlsInspectorConfig(4096)),
        ListenerFilterConfig(HttpInspectorConfig(), Predicate("or", rules=(ports, inner))),
        ListenerFilterConfig(OriginalDstConfig()),
        ListenerFilterConfig(ProxyProtocolConfig(True, frozenset({2}), "p")),
    )
    assert (config.listener_filters_timeout, config.continue_on_listener_filters_timeout) == (0.1, True)
    assert (config.use_original_dst, config.bind_to_port, config.stat_prefix) == (True, False, "s")


def test_use_original_dst_brings_its_filter() -> None:
    assert compiled(use_original_dst=True).listener_filters == (ListenerFilterConfig(OriginalDstConfig()),)
    assert compiled(deprecated_v1={"bind_to_port": False}).bind_to_port is False


def test_addresses_and_sockets() -> None:
    other = {"address": {"socket_address": {"address": "::1", "port_value": 81}}}
    config = compiled(
        address={"pipe": {"path": "@abstract"}},
        additional_addresses=[other],
        socket_options=[{"level": 1, "name": 9, "int_value": 1}, {"level": 6, "name": 4, "buf_value": "AAAA"}],
        freebind=True,
        transparent=True,
        tcp_fast_open_queue_length=5,
    )
    assert config.addresses == (PipeAddress("@abstract"), SocketAddress("::1", 81))
    options = config.socket_options
    assert options.options == ((1, 9, 1), (6, 4, b"\0\0\0"))
    assert (options.freebind, options.transparent, options.tcp_fast_open_queue_length) == (True, True, 5)


def test_network_filters_before_the_last() -> None:
    limit = typed("network.connection_limit.v3.ConnectionLimit", stat_prefix="l", max_connections="7", delay="1s")
    config = compiled(filter_chains=[chain(limit, typed("network.sni_cluster.v3.SniCluster"), TCP)])
    assert config.filter_chains[0].gates == (ConnectionLimitConfig("l", 7, 1.0),)
    network_filter = config.filter_chains[0].network_filter
    assert isinstance(network_filter, TcpProxyConfig)
    assert network_filter.cluster_from_sni
    assert compiled().filter_chains[0].network_filter == DirectResponseConfig(b"hi")


def rbac(**policy: object) -> dict[str, Any]:
    given = {"permissions": [{"any": True}], "principals": [{"any": True}], **policy}
    return typed("network.rbac.v3.RBAC", stat_prefix="tcp.", rules={"action": "DENY", "policies": {"p": given}})


def test_policies_of_connections() -> None:
    config = compiled(filter_chains=[chain(rbac(permissions=[{"destination_port": 7}]), TCP)])
    rules = Rules("DENY", (Policy("p", (DestinationPort(7, 8),), (Anything(),)),))
    assert config.filter_chains[0].gates == (ConnectionRbacConfig("tcp.", rules),)


def test_policies_that_ask_for_the_peer_wait_for_its_handshake() -> None:
    named = rbac(principals=[{"not_id": {"and_ids": {"ids": [{"authenticated": {}}]}}}])
    (gate,) = compiled(filter_chains=[chain(named, TCP)]).filter_chains[0].gates
    assert isinstance(gate, ConnectionRbacConfig)
    assert not gate.after_handshake
    tls = {"common_tls_context": {"tls_certificates": [
        {"certificate_chain": {"inline_string": "c"}, "private_key": {"inline_string": "k"}},
    ]}}  # fmt: skip
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    socket = {"name": "tls", "typed_config": {"@type": kind, **tls}}
    for policy, waits in ((named, True), (rbac(), False)):
        secure = compiled(filter_chains=[{**chain(policy, TCP), "transport_socket": socket}])
        (gate,) = secure.filter_chains[0].gates
        assert isinstance(gate, ConnectionRbacConfig)
        assert gate.after_handshake == waits


def test_a_default_chain_alone() -> None:
    config = compiled(filter_chains=[], default_filter_chain=chain())
    assert config.filter_chains == ()
    assert config.all_chains == (config.default_filter_chain,)


def old(duration: str, jitter: float = 0) -> dict[str, object]:
    fields = {"stat_prefix": "t", "cluster": "c", "max_downstream_connection_duration": duration}
    jitters = {"max_downstream_connection_duration_jitter_percentage": {"value": jitter}}
    return {"filter_chains": [{"filters": [typed("network.tcp_proxy.v3.TcpProxy", **fields, **jitters)]}]}


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        (
            {"filter_chains": [chain(), chain()]},
            "filter_chains[1].filter_chain_match",
            "same matching rules as filter_chains[0]",
        ),
        (
            {"filter_chains": [chain(server_names=["a", "b"]), chain(server_names=["b"])]},
            "filter_chains",
            "overlapping matching rules",
        ),
        ({"filter_chains": [chain(server_names=["a*.b"])]}, "server_names[0]", "partial wildcards"),
        ({"filter_chains": [chain(server_names=["*"])]}, "server_names[0]", "partial wildcards"),
        ({"filter_chains": [chain(destination_port=0)]}, "destination_port = 0", "1 to 65535"),
        ({"filter_chains": [chain(source_ports=[70000])]}, "source_ports[0] = 70000", "1 to 65535"),
        (
            {"filter_chains": [chain(prefix_ranges=[{"address_prefix": "x"}])]},
            "prefix_ranges[0]",
            "no range of addresses",
        ),
        (
            {"filter_chains": [chain(prefix_ranges=[{"address_prefix": "1.1.1.1", "prefix_len": 33}])]},
            "prefix_ranges[0]",
            "no range of addresses",
        ),
        ({"filter_chains": [chain(suffix_len=3)]}, "filter_chain_match.suffix_len", "is not supported"),
        ({"filter_chains": [chain(TCP, RESPONSE)]}, "filters[0].typed_config", "must be the last"),
        (
            {"filter_chains": [chain(typed("network.sni_cluster.v3.SniCluster"))]},
            "filters[0].typed_config",
            "must be a terminal filter",
        ),
        (
            {"filter_chains": [chain(typed("network.connection_limit.v3.ConnectionLimit", stat_prefix="l"), TCP)]},
            "max_connections",
            "at least 1",
        ),
        ({"address": {"pipe": {"path": "/x", "mode": 4096}}}, "address.pipe.mode", "at most 511"),
        ({"address": {"pipe": {"path": "@x", "mode": 1}}}, "address.pipe.mode", "abstract"),
        ({"socket_options": [{"level": 1, "name": 15, "int_value": 1}]}, "socket_options[0]", "enable_reuse_port"),
        (
            {"socket_options": [{"level": 1, "name": 9, "state": "STATE_BOUND"}]},
            "socket_options[0].state",
            "STATE_PREBIND",
        ),
        (
            {"listener_filters": [typed("listener.tls_inspector.v3.TlsInspector", max_client_hello_size=99999)]},
            "max_client_hello_size",
            "at most 16384",
        ),
        (
            {"listener_filters": [typed("listener.proxy_protocol.v3.ProxyProtocol", disallowed_versions=["V1", "V2"])]},
            "disallowed_versions",
            "no connection could pass",
        ),
        ({"listener_filters": [typed("network.tcp_proxy.v3.TcpProxy")]}, "listener_filters[0].typed_config", "only"),
        ({"udp_listener_config": {}}, "udp_listener_config", "is not supported"),
        ({"enable_mptcp": True}, "enable_mptcp", "is not supported"),
        (old("0s"), "max_downstream_connection_duration", "at least 0.001s"),
        (old("1s", 101), "max_downstream_connection_duration_jitter_percentage", "from 0 to 100"),
    ],
)
def test_what_is_refused(fields: dict[str, object], path: str, reason: str) -> None:
    message = refused(**fields)
    assert path in message
    assert reason in message


def test_too_many_alternatives_are_refused_before_they_take_memory() -> None:
    many = [str(number) for number in range(1000)]
    assert "combinations" in refused(filter_chains=[chain(server_names=many, application_protocols=many)])
