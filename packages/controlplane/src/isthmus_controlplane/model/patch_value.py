"""The value of an EnvoyFilter's patch as the message that it changes."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from isthmus_api.istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from isthmus_controlplane.errors import ControlPlaneError

MAX_PARSED = 1024
MESSAGES: dict[int, Any] = {
    EnvoyFilter.LISTENER: Listener,
    EnvoyFilter.FILTER_CHAIN: FilterChain,
    EnvoyFilter.NETWORK_FILTER: Filter,
    EnvoyFilter.HTTP_FILTER: HttpFilter,
    EnvoyFilter.ROUTE_CONFIGURATION: RouteConfiguration,
    EnvoyFilter.VIRTUAL_HOST: VirtualHost,
    EnvoyFilter.HTTP_ROUTE: Route,
    EnvoyFilter.CLUSTER: Cluster,
}
_TYPE = re.compile(r"type\.googleapis\.com/((?:envoy|xds|udpa)(?:\.[A-Za-z0-9_]+)+)")


class PatchValueError(ControlPlaneError):
    """The value is no message of that kind; the message says why."""


def patch_value(apply_to: int, value: Any) -> Any:
    """Read a patch's value, a ``Struct``, as the message that ``apply_to`` names. It must not be changed.

    Raises:
        PatchValueError: it has unknown fields, or values or extensions that do not fit.
    """
    return _parsed(apply_to, value.SerializeToString(deterministic=True))


@functools.lru_cache(MAX_PARSED)
def _parsed(apply_to: int, raw: bytes) -> Any:
    content = json_format.MessageToDict(Struct.FromString(raw))
    for type_url in _types(content):
        load_type(type_url)
    message = MESSAGES[apply_to]()
    try:
        json_format.ParseDict(_whole_numbers(content), message)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise PatchValueError(str(error)) from error
    return message


def _whole_numbers(value: Any) -> Any:
    """Numbers of a Struct are floats, which integer fields take when they are whole."""
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _types(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "@type" in value:
            yield str(value["@type"])
        for item in value.values():
            yield from _types(item)
    elif isinstance(value, list):
        for item in value:
            yield from _types(item)


@functools.lru_cache(MAX_PARSED)
def load_type(type_url: str) -> None:
    """Load the module of an extension's message, so that it can be read and written.

    Raises:
        PatchValueError: there is no such type.
    """
    found = _TYPE.fullmatch(type_url)
    package = found[1].rpartition(".")[0] if found is not None else ""
    try:
        folder = importlib.import_module(package)
        for module in pkgutil.iter_modules(folder.__path__):
            if module.name.endswith("_pb2"):
                importlib.import_module(f"{package}.{module.name}")
    except (ImportError, ValueError, AttributeError) as error:
        raise PatchValueError(f"{type_url!r} is not the type of a known extension") from error
