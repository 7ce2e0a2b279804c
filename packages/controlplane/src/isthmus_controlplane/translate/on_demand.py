"""Virtual hosts on demand (VHDS): a proxy is sent the virtual host of a name when the first request for it comes in.

For route tables that are too large to be sent whole. Envoy asks for ``ROUTE_CONFIGURATION/HOST``, with the host as the request
has it, so each virtual host goes by all of its domains.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message

from isthmus_controlplane.snapshot.resource import Aliased
from isthmus_controlplane.snapshot.resource_type import VIRTUAL_HOST
from isthmus_controlplane.stores.base import ObjectKey
from isthmus_controlplane.translate.message import ads, packed
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE, Translation

ON_DEMAND = "envoy.filters.http.on_demand"


def on_demand(translation: Translation) -> Translation:
    """Take the virtual hosts out of the route configurations and make them resources of their own. Pure.

    One with a wildcard among its domains stays where it is, since nobody asks for it by name. The catch-all goes: it would
    answer for hosts that have not been asked for yet. Requests for hosts that nobody defined get Envoy's 404.
    """
    tables: dict[str, dict[str, Any]] = {url: dict(table) for url, table in translation.messages.items()}
    origins = dict(translation.origins)
    hosts: dict[str, Aliased] = {}
    for name, configuration in translation.messages[ROUTE_TYPE].items():
        tables[ROUTE_TYPE][name] = _without_hosts(configuration)
        for resource, aliased in _hosts(name, configuration):
            hosts[resource] = aliased
            origins[VIRTUAL_HOST, resource] = origins[ROUTE_TYPE, name]
    for name, listener in translation.messages[LISTENER_TYPE].items():
        tables[LISTENER_TYPE][name] = _with_filter(listener)
    tables[VIRTUAL_HOST] = hosts
    return _finished(tables, origins, translation)


def _finished(
    tables: dict[str, dict[str, Any]], origins: dict[tuple[str, str], tuple[ObjectKey, ...]], before: Translation
) -> Translation:
    messages = {url: MappingProxyType(dict(sorted(table.items()))) for url, table in tables.items()}
    return Translation(MappingProxyType(messages), MappingProxyType(origins), before.problems, before.imported)


def _stays(host: Any) -> bool:
    return any("*" in domain for domain in host.domains)


def _without_hosts(configuration: Any) -> Message:
    made = RouteConfiguration()
    made.CopyFrom(configuration)
    del made.virtual_hosts[:]
    made.virtual_hosts.extend(host for host in configuration.virtual_hosts if _stays(host) and "*" not in host.domains)
    made.vhds.config_source.CopyFrom(ads())
    result: Message = made
    return result


def _hosts(name: str, configuration: Any) -> list[tuple[str, Aliased]]:
    """Return (resource name, virtual host) for each domain of each host that is asked for by name."""
    found: list[tuple[str, Aliased]] = []
    for host in configuration.virtual_hosts:
        if _stays(host):
            continue
        own, *aliases = (f"{name}/{domain}" for domain in host.domains)
        made = VirtualHost()
        made.CopyFrom(host)
        made.name = own  # Envoy keeps and removes virtual hosts by this name
        aliased = Aliased(made, tuple(aliases))
        found += [(each, aliased) for each in (own, *aliases)]
    return found


def _with_filter(listener: Any) -> Message:
    """Put the filter that asks for virtual hosts before the others of each connection manager."""
    made = Listener()
    made.CopyFrom(listener)
    for chain in (*made.filter_chains, *([made.default_filter_chain] if made.HasField("default_filter_chain") else ())):
        for network_filter in chain.filters:
            if network_filter.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(network_filter.typed_config.value)
                if manager.HasField("rds"):
                    manager.http_filters.insert(0, HttpFilter(name=ON_DEMAND, typed_config=packed(OnDemand())))
                    network_filter.typed_config.CopyFrom(packed(manager))
    result: Message = made
    return result
