"""The xDS half of the proxy, wired: imported only when the bootstrap file has dynamic_resources."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from google.protobuf.message import Message

from isthmus_proxy.admin.config_dump import DynamicResource
from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.dynamic import DynamicResources
from isthmus_proxy.config.endpoint import compile_assignment
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.config.runtime import layer_values
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.listener.model import Extension
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.time_format import IsoTime
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.xds import cluster_discovery, listener_discovery
from isthmus_proxy.xds.apply import Discovery, Sources
from isthmus_proxy.xds.backoff import Backoff
from isthmus_proxy.xds.client import XdsClient
from isthmus_proxy.xds.extension_discovery import ExtensionDiscovery
from isthmus_proxy.xds.last_good import Owner
from isthmus_proxy.xds.last_good_file import LastGoodFile
from isthmus_proxy.xds.resources import SHORT_NAMES, decode
from isthmus_proxy.xds.runtime_discovery import RuntimeDiscovery
from isthmus_proxy.xds.servers import Server
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.source import ApiSource

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import Scope
    from isthmus_proxy.tls.secrets import RemoteSecrets

_TYPES = {short: type_url for type_url, short in SHORT_NAMES.items()}


class DynamicConfiguration:
    """Discovery and its client. ``start`` takes the bootstrap's own resources into service, ``run`` keeps the stream."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        resources: DynamicResources,
        surroundings: Surroundings,
        routes: RouteHandles,
        listeners: listener_discovery.Listeners,
        stats: StatsStore,
        after_update: Callable[[], None],
        last_good_path: Path | None = None,
    ) -> None:
        if last_good_path is not None and (resources.cds_source or resources.lds_source or resources.ads is None):
            reason = "keeps what comes over ads only; set cds_config and lds_config to ads, or leave it out"
            raise ConfigError("--xds-cache-path", str(last_good_path), reason)
        ads = resources.ads or ApiSource(())
        session = Session(
            bootstrap.node,
            "delta" if ads.delta else "sotw",
            node_in_all=not ads.set_node_on_first_message_only,
        )
        sources = Sources(
            clusters=resources.cds,
            listeners=resources.lds,
            clusters_timeout=resources.cds_initial_fetch_timeout,
            listeners_timeout=resources.lds_initial_fetch_timeout,
            aggregated=resources.ads is not None,
            clusters_source=resources.cds_source,
            listeners_source=resources.lds_source,
            servers=frozenset(each.name for each in bootstrap.clusters if each.discovery != "EDS"),
        )
        self._bootstrap = bootstrap
        self.discovery = Discovery(session, sources, stats, trio.current_time, time.time)
        self._clusters = cluster_discovery.ClusterDiscovery(
            surroundings.clusters,
            cluster_discovery.Compilers(compile_cluster, compile_assignment),
            self.discovery.subscribe_endpoints,
            trio.current_time,
            self.discovery.check_source,
        )
        extensions = ExtensionDiscovery(
            surroundings.extensions,
            _compile_extension,
            self.discovery.subscribe_extensions,
            self.discovery.check_source,
            self.discovery.count_extension,
        )
        self._listeners = listener_discovery.ListenerDiscovery(
            listeners,
            routes,
            listener_discovery.Compilers(compile_listener, compile_route_configuration, _compile_scope),
            self.discovery.subscribe_routes,
            trio.current_time,
            self.discovery.check_source,
            self.discovery.subscribe_scopes,
            extensions,
        )
        self.last_good = last_good = self._last_good(last_good_path, stats)

        def updated() -> None:
            after_update()
            if last_good is not None:
                last_good.changed()

        self._runtime = RuntimeDiscovery(routes.runtime, bootstrap.runtime.discovered, layer_values)
        self._client = XdsClient(
            self.discovery, GrpcClient(surroundings), make_servers(ads), stats, updated, last_good, make_servers
        )

    def _last_good(self, path: Path | None, stats: StatsStore) -> LastGoodFile | None:
        node = self._bootstrap.node
        return LastGoodFile(path, Owner(node.id, node.cluster), self.discovery, stats, time.time) if path else None

    def secrets(self) -> RemoteSecrets:
        """What subscribes to secrets, made for the first configuration that names any."""
        from isthmus_proxy.config.secret import SECRET_TYPE  # noqa: PLC0415 - few configurations name secrets
        from isthmus_proxy.xds.secret_discovery import SecretDiscovery  # noqa: PLC0415

        secrets = SecretDiscovery(lambda names: self.discovery.subscribe_secrets(SECRET_TYPE, secrets.apply, names))
        return secrets

    def start(self) -> None:
        """Take the bootstrap's resources into service and subscribe. Raises ConfigError for a taken address."""
        self.discovery.start(
            self._clusters, self._listeners, self._bootstrap.clusters, self._bootstrap.listeners, self._runtime
        )

    async def run(self) -> None:
        """Talk to the control plane until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.last_good is not None:
                nursery.start_soon(self.last_good.run)
            await self._client.run()

    def note(self) -> str:
        """What ``/ready`` adds: whether an old configuration is in service."""
        last_good = self.last_good
        if last_good is None or not last_good.serving or last_good.restored_from is None:
            return ""
        return (
            f"last good configuration of {IsoTime()(last_good.restored_from)}; the control plane has not answered yet"
        )

    def version(self, kind: str) -> str:
        """Version of the last response of a type (``cds``) that was taken in full."""
        return self.discovery.sessions.version(_TYPES[kind])

    def scope_names(self) -> list[str]:
        """The names under which connection managers take scopes of routes over xDS."""
        return self._listeners.scope_names()

    def unready(self) -> dict[str, list[str]]:
        """What warms: listeners with the route configurations that they wait for, and clusters."""
        listeners = self._listeners.warming.items()
        needs = [f"{name}: {kind} {each}" for name, warming in listeners for kind, each in warming.missing]
        return {"listener": needs, "cluster": [f"{name}: EDS" for name in self._clusters.warming]}

    def resources(self, kind: str) -> Iterator[DynamicResource]:
        """Everything received of a type (``cds``), refused versions included, for ``/config_dump``."""
        type_url = _TYPES[kind]
        accepted = self.discovery.sessions.accepted(type_url)
        rejected = self.discovery.sessions.rejected(type_url)
        warming: Container[str] = self._listeners.warming if kind == "lds" else self._clusters.warming
        for name in sorted(accepted.keys() | rejected.keys()):
            stored, refused = accepted.get(name), rejected.get(name)
            yield DynamicResource(
                name,
                stored.version if stored else "",
                decode(type_url, stored.body)[1] if stored else None,
                stored.updated_at if stored else 0.0,
                "warming" if name in warming else "active",
                refused.reason if refused else "",
                refused.rejected_at if refused else 0.0,
                refused.version if refused else "",
            )


def _compile_scope(message: Message) -> Scope:
    from isthmus_proxy.config.scoped_routes import compile_scope  # noqa: PLC0415 - few control planes send any

    return compile_scope(message)


def _compile_extension(message: Message) -> Extension:
    from isthmus_proxy.config.extension_source import compile_extension  # noqa: PLC0415 - few control planes send any

    return compile_extension(message)


def make_servers(source: ApiSource) -> tuple[Server, ...]:
    """The management servers of a stream, each with its own back-off."""
    return tuple(
        Server(each.cluster_name, Backoff(random.random, each.retry_base_interval, each.retry_max_interval))
        for each in source.servers
    )


def static_messages(bootstrap: Bootstrap, field: str) -> Iterator[Message]:
    """``clusters`` or ``listeners`` of the bootstrap's static_resources."""
    messages: Any = getattr(bootstrap.proto.static_resources, field)
    return iter(messages)
