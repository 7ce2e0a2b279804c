"""Compiles config.core.v3.GrpcService of filters that ask somebody: a cluster, an authority, a time-out."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError

_FIELDS = {"envoy_grpc", "timeout"}
_ENVOY_GRPC = {"cluster_name", "authority", "skip_envoy_headers"}


def compile_grpc_service(proto: Any, path: str, default_timeout: float) -> tuple[str, str, float]:
    """(cluster, authority, time-out in seconds, 0 = none). Raises ConfigError for what would be ignored."""
    for field, _ in proto.ListFields():
        if field.name not in _FIELDS:
            raise ConfigError(join(path, field.name), "", "is not supported here")
    place = join(path, "envoy_grpc")
    for field, _ in proto.envoy_grpc.ListFields():
        if field.name not in _ENVOY_GRPC:
            raise ConfigError(join(place, field.name), "", "is not supported here")
    cluster = required(proto.envoy_grpc, "cluster_name", place)
    return cluster, proto.envoy_grpc.authority, seconds(proto, "timeout", default_timeout, path)
