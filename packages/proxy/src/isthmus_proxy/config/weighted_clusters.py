"""Compiles where a route sends requests: one cluster, one named by a header, or several by weight."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.metadata import Criteria, merge
from isthmus_proxy.config.filter_overrides import compile_overrides
from isthmus_proxy.config.header_edits import compile_request_edits, compile_response_edits
from isthmus_proxy.config.metadata import compile_metadata
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import ClusterWeight


def compile_clusters(action: Any, path: str) -> tuple[ClusterWeight, ...]:
    """Compile the cluster specifier of a RouteAction."""
    chosen = action.WhichOneof("cluster_specifier")
    asked = compile_metadata(action.metadata_match)
    if chosen == "cluster":
        return (ClusterWeight(required(action, "cluster", path), metadata_match=asked),)
    if chosen == "cluster_header":
        header = _header(action.cluster_header, join(path, chosen))
        return (ClusterWeight("", cluster_header=header, metadata_match=asked),)
    if chosen != "weighted_clusters":
        raise ConfigError(path, "", "needs one of cluster, cluster_header and weighted_clusters")
    return _weighted(action.weighted_clusters, join(path, chosen), asked)


def _weighted(weighted: Any, path: str, asked: Criteria | None) -> tuple[ClusterWeight, ...]:
    prefix = weighted.runtime_key_prefix
    clusters = tuple(
        _cluster_weight(item, prefix, f"{join(path, 'clusters')}[{i}]", asked)
        for i, item in enumerate(weighted.clusters)
    )
    total = sum(cluster.weight for cluster in clusters)
    if total == 0 or total > 0xFFFFFFFF:
        raise ConfigError(join(path, "clusters"), f"weights add up to {total}", "must be from 1 to 4294967295 together")
    if weighted.HasField("total_weight") and weighted.total_weight.value != total:
        reason = f"is not the sum of the weights, {total}; remove it"
        raise ConfigError(join(path, "total_weight"), str(weighted.total_weight.value), reason)
    return clusters


def _cluster_weight(item: Any, prefix: str, path: str, asked: Criteria | None) -> ClusterWeight:
    if bool(item.name) == bool(item.cluster_header):
        raise ConfigError(path, "", "needs one of name and cluster_header")
    own = compile_metadata(item.metadata_match)
    return ClusterWeight(
        item.name,
        int(item.weight.value),
        compile_request_edits(item, path),
        compile_response_edits(item, path),
        cluster_header=_header(item.cluster_header, join(path, "cluster_header")) if item.cluster_header else b"",
        host_rewrite=item.host_rewrite_literal.encode(),
        runtime_key=f"{prefix}.{item.name}" if prefix else "",
        metadata_match=own if asked is None else merge(asked, own or ()),
        filters=compile_overrides(item, path),
    )


def _header(name: str, path: str) -> bytes:
    """A header that names a cluster; Host and pseudo-headers can be read too, except for those that Envoy refuses."""
    if not name or (name.startswith(":") and name != ":authority"):
        raise ConfigError(path, shown(name), "must be the name of a header")
    return name.lower().encode()
