"""Compiles envoy.extensions.filters.http.{grpc_stats,grpc_web,grpc_http1_bridge}.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.http.filters.grpc_http1_bridge import GrpcHttp1BridgeConfig
from isthmus_proxy.http.filters.grpc_stats import GrpcStatsConfig
from isthmus_proxy.http.filters.grpc_web import GrpcWebConfig


def compile_grpc_stats(proto: Any, path: str) -> GrpcStatsConfig:
    """Compile the filter's message."""
    del path
    methods: frozenset[tuple[str, str]] | None = frozenset(
        (service.name, method)
        for service in proto.individual_method_stats_allowlist.services
        for method in service.method_names
    )
    if proto.stats_for_all_methods.value:
        methods = None
    return GrpcStatsConfig(methods, proto.replace_dots_in_grpc_service_name)


def compile_grpc_web(proto: Any, path: str) -> GrpcWebConfig:
    """Compile the filter's message, which is empty."""
    del proto, path
    return GrpcWebConfig()


def compile_grpc_http1_bridge(proto: Any, path: str) -> GrpcHttp1BridgeConfig:
    """Compile the filter's message."""
    del proto, path
    return GrpcHttp1BridgeConfig()
