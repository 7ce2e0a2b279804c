"""Compiles config.route.v3.RouteAction.RequestMirrorPolicy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.header_edits import compile_mutations
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.route_match import compile_fraction
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import MirrorPolicy


def compile_mirrors(message: Any, path: str) -> tuple[MirrorPolicy, ...]:
    """Compile ``request_mirror_policies`` of a route, a virtual host or a route configuration."""
    path = join(path, "request_mirror_policies")
    return tuple(_mirror(policy, f"{path}[{i}]") for i, policy in enumerate(message.request_mirror_policies))


def _mirror(policy: Any, path: str) -> MirrorPolicy:
    if bool(policy.cluster) == bool(policy.cluster_header):
        raise ConfigError(path, "", "needs one of cluster and cluster_header")
    return MirrorPolicy(
        cluster=policy.cluster,
        cluster_header=policy.cluster_header.lower().encode(),
        fraction=compile_fraction(policy.runtime_fraction) if policy.HasField("runtime_fraction") else None,
        append_suffix=not policy.disable_shadow_host_suffix_append,
        host_rewrite=policy.host_rewrite_literal.encode(),
        edits=compile_mutations(policy.request_headers_mutations, join(path, "request_headers_mutations")),
    )
