"""The bootstrap file: envoy.config.bootstrap.v3.Bootstrap in YAML or JSON, checked and compiled. The only reader of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envoy.config.bootstrap.v3 import bootstrap_pb2

from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.config import documents
from isthmus_proxy.config.check import check
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.dynamic import DynamicResources, check_node, compile_dynamic_resources
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.overload import compile_overload
from isthmus_proxy.config.parse import fill, join, shown
from isthmus_proxy.config.route import clusters_named
from isthmus_proxy.config.runtime import compile_runtime
from isthmus_proxy.config.source import compile_load_stats
from isthmus_proxy.config.stats import compile_stats_settings, compile_stats_sinks
from isthmus_proxy.config.values import socket_address
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    RpcProxyConfig,
    ScopedRoutesConfig,
    SocketAddress,
)
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, StatsSettings
from isthmus_proxy.observe.statsd import StatsdConfig
from isthmus_proxy.overload.model import OverloadConfig
from isthmus_proxy.registry_api.model import RegistryApiConfig
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.runtime import RuntimeConfig
from isthmus_proxy.xds.source import ApiSource, ManagementServer

if TYPE_CHECKING:
    from isthmus_proxy.tls.model import Secret


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A bootstrap file, ready to serve. ``proto`` is the message itself (for ``/config_dump``), ``node`` its core.v3.Node.

    ``admin`` is None when the file has no admin section; ``dynamic_resources`` is None when all is static.
    """

    origin: str
    proto: Any
    node: Any
    listeners: tuple[ListenerConfig, ...]
    clusters: tuple[ClusterConfig, ...]
    admin: SocketAddress | None
    dynamic_resources: DynamicResources | None
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    outlier_event_log_path: str = ""
    overload: OverloadConfig | None = None
    stats_settings: StatsSettings = NO_SETTINGS
    stats_sinks: tuple[StatsdConfig, ...] = ()
    secrets: tuple[tuple[str, Secret], ...] = ()
    registry_api: RegistryApiConfig | None = None
    load_stats: ManagementServer | None = None
    local_cluster_name: str = ""


def load(path: Path) -> Bootstrap:
    """Read, check and compile the file at ``path``. Raises ConfigError that names the file, field path and value."""
    document = documents.read(path)
    proto = bootstrap_pb2.Bootstrap()
    try:
        fill(proto, document)
        return compile_bootstrap(proto, str(path))
    except ConfigError as error:
        error.origin = str(path)
        raise


def compile_bootstrap(proto: Any, origin: str = "") -> Bootstrap:
    """Check and compile a Bootstrap message. Raises ConfigError."""
    check(proto)
    runtime = compile_runtime(proto.layered_runtime)
    dynamic = compile_dynamic_resources(proto)
    if runtime.discovered and (dynamic is None or dynamic.ads is None):
        place = "layered_runtime.layers.rtds_layer.rtds_config"
        raise ConfigError(place, "", "asks for ads, but dynamic_resources.ads_config is not set")
    secrets = _secrets(proto.static_resources.secrets)
    _refuse_duplicates("secrets", [name for name, _ in secrets])
    clusters = tuple(
        compile_cluster(item, f"static_resources.clusters[{i}]")
        for i, item in enumerate(proto.static_resources.clusters)
    )
    listeners = tuple(
        compile_listener(item, f"static_resources.listeners[{i}]")
        for i, item in enumerate(proto.static_resources.listeners)
    )
    _refuse_duplicates("clusters", [cluster.name for cluster in clusters])
    _refuse_duplicates("listeners", [listener.name for listener in listeners])
    _check_routes_of(listeners, {cluster.name for cluster in clusters})
    dynamic = _check_sources(proto, listeners, clusters, dynamic)
    outlier_log = proto.cluster_manager.outlier_detection.event_log_path
    overload = None
    if proto.HasField("overload_manager"):
        overload = compile_overload(proto.overload_manager, "overload_manager")
    admin = None
    if proto.HasField("admin"):
        admin = SocketAddress(*socket_address(proto.admin.address, "admin.address"))
    return Bootstrap(
        origin,
        proto,
        proto.node,
        listeners,
        clusters,
        admin,
        dynamic,
        runtime,
        outlier_log,
        overload,
        compile_stats_settings(proto.stats_config, "stats_config"),
        compile_stats_sinks(proto),
        secrets,
        _registry_api(proto),
        _load_stats(proto.cluster_manager, clusters),
        _local_cluster(proto.cluster_manager, clusters),
    )


def _load_stats(manager: Any, clusters: tuple[ClusterConfig, ...]) -> ManagementServer | None:
    """The server that loads are reported to. Raises ConfigError."""
    if not manager.HasField("load_stats_config"):
        return None
    path = "cluster_manager.load_stats_config"
    server = compile_load_stats(manager.load_stats_config, path)
    _check_server(server, f"{path}.grpc_services[0]", _static_names(clusters))
    return server


def _static_names(clusters: tuple[ClusterConfig, ...]) -> set[str]:
    return {cluster.name for cluster in clusters if cluster.discovery != "EDS"}


def _check_server(server: ManagementServer, path: str, known: set[str]) -> None:
    if server.cluster_name not in known:
        reason = "is not among static_resources.clusters, other than those of type EDS"
        raise ConfigError(f"{path}.envoy_grpc.cluster_name", shown(server.cluster_name), reason)


def _local_cluster(manager: Any, clusters: tuple[ClusterConfig, ...]) -> str:
    name = str(manager.local_cluster_name)
    if name and name not in [cluster.name for cluster in clusters]:
        reason = "is not among static_resources.clusters; requests are routed by the zones of its endpoints"
        raise ConfigError("cluster_manager.local_cluster_name", shown(name), reason)
    return name


def _check_sources(
    proto: Any,
    listeners: tuple[ListenerConfig, ...],
    clusters: tuple[ClusterConfig, ...],
    dynamic: DynamicResources | None,
) -> DynamicResources | None:
    """Raise ConfigError for streams that cannot be. Returns what there is of xDS, if it be only for routes or endpoints."""
    used = list(_sources(listeners, clusters))
    if dynamic is None and used:
        if any(source is not None and source.servers for _, source in used):
            check_node(proto.node)
        dynamic = DynamicResources()
    known = _static_names(clusters)
    for path, source in [*(dynamic.named() if dynamic else ()), *used]:
        if source is None:
            if dynamic is None or dynamic.ads is None:
                raise ConfigError(path, "", "asks for ads, but dynamic_resources.ads_config is not set")
            continue
        for index, server in enumerate(source.servers):
            _check_server(server, f"{path}.grpc_services[{index}]", known)
    return dynamic


def _sources(
    listeners: tuple[ListenerConfig, ...], clusters: tuple[ClusterConfig, ...]
) -> Iterator[tuple[str, ApiSource | None]]:
    """Where routes of listeners and endpoints of clusters come from, each with the path that says so."""
    for index, listener in enumerate(listeners):
        for chain in listener.all_chains:
            manager = chain.network_filter
            place = f"static_resources.listeners[{index}]"
            if not isinstance(manager, HttpConnectionManagerConfig | RpcProxyConfig):
                continue
            if isinstance(manager.route, RdsReference):
                yield f"{place}.rds", manager.route.source
            elif isinstance(manager.route, ScopedRoutesConfig):
                for reference in manager.route.references(frozenset()):
                    yield f"{place}.scoped_routes.rds_config_source", reference.source
                if manager.route.scopes is None:
                    yield f"{place}.scoped_routes.scoped_rds", None
                    yield f"{place}.scoped_routes.rds_config_source", manager.route.reference.source
        for each in listener.discovered_filters:
            yield f"static_resources.listeners[{index}].http_filters.config_discovery", each.source
    for index, cluster in enumerate(clusters):
        if cluster.discovery == "EDS":
            yield f"static_resources.clusters[{index}].eds_cluster_config", cluster.eds_source


def _secrets(protos: Any) -> tuple[tuple[str, Secret], ...]:
    if not protos:
        return ()
    from isthmus_proxy.config.secret import compile_secret  # noqa: PLC0415 - few files have any

    return tuple(compile_secret(item, f"static_resources.secrets[{i}]") for i, item in enumerate(protos))


def _registry_api(proto: Any) -> RegistryApiConfig | None:
    if not proto.bootstrap_extensions:
        return None
    from isthmus_proxy.config.registry_api import compile_registry_api  # noqa: PLC0415 - where an SDK is served

    return compile_registry_api(proto)


def _refuse_duplicates(field: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(f"static_resources.{field}[{index}].name", shown(name), "this name is used twice")


def _check_routes_of(listeners: tuple[ListenerConfig, ...], known: set[str]) -> None:
    for index, listener in enumerate(listeners):
        for chain in listener.all_chains:
            manager = chain.network_filter
            if isinstance(manager, HttpConnectionManagerConfig | RpcProxyConfig):
                _check_routes(manager, f"static_resources.listeners[{index}]", known)


def _check_routes(manager: HttpConnectionManagerConfig | RpcProxyConfig, path: str, known: set[str]) -> None:
    if not isinstance(manager.route, RouteConfiguration) or not manager.route.validate_clusters:
        return
    for place, cluster in clusters_named(manager.route, "route_config"):
        if cluster not in known:
            reason = "there is no such cluster in static_resources; add it or set validate_clusters: false"
            raise ConfigError(join(path, place), shown(cluster), reason)
