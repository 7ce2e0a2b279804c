"""Compiles scoped_routes of a connection manager, and scopes as control planes send them (config.route.v3.ScopedRouteConfiguration)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.config.source import compile_source
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import RdsReference, ScopedRoutesConfig
from isthmus_proxy.route.scopes import FragmentBuilder, Scope


def compile_scoped_routes(proto: Any, path: str) -> ScopedRoutesConfig:
    """Compile checked ``scoped_routes``. Raises ConfigError."""
    builders = _builders(proto.scope_key_builder, join(path, "scope_key_builder"))
    routes, place = proto.rds_config_source, join(path, "rds_config_source")
    reference = RdsReference("", seconds(routes, "initial_fetch_timeout", 15.0, place), None)
    if proto.HasField("rds_config_source"):
        source = compile_source(routes, place)
        reference = RdsReference("", reference.initial_fetch_timeout, source)
    name = required(proto, "name", path)
    chosen = proto.WhichOneof("config_specifier")
    if chosen == "scoped_route_configurations_list":
        scopes = _list(proto, join(path, chosen))
        if any(isinstance(scope.route, str) for scope in scopes) and not proto.HasField("rds_config_source"):
            raise ConfigError(place, "", "is required by scopes that name their routes")
        return ScopedRoutesConfig(name, builders, reference, scopes)
    if chosen != "scoped_rds":
        raise ConfigError(path, "", "needs one of scoped_route_configurations_list and scoped_rds")
    if not proto.HasField("rds_config_source"):
        raise ConfigError(place, "", "is required")
    return _over_xds(proto.scoped_rds, join(path, chosen), name, builders, reference)


def _over_xds(
    proto: Any, path: str, name: str, builders: tuple[FragmentBuilder, ...], reference: RdsReference
) -> ScopedRoutesConfig:
    source, place = proto.scoped_rds_config_source, join(path, "scoped_rds_config_source")
    if compile_source(source, place) is not None:
        raise ConfigError(place, "api_config_source", "scopes come over ads only")
    timeout = seconds(source, "initial_fetch_timeout", 15.0, place)
    return ScopedRoutesConfig(name, builders, reference, None, timeout)


def compile_scope(proto: Any, path: str = "") -> Scope:
    """Check and compile one scope. Raises ConfigError below ``path``."""
    check(proto, path)
    name = required(proto, "name", path)
    fragments = proto.key.fragments
    if not fragments:
        raise ConfigError(join(path, "key.fragments"), "", "needs at least one fragment")
    for index, fragment in enumerate(fragments):
        if fragment.WhichOneof("type") != "string_key":
            raise ConfigError(join(path, f"key.fragments[{index}].string_key"), "", "is required")
    key = tuple(fragment.string_key.encode() for fragment in fragments)
    if proto.HasField("route_configuration"):
        if proto.route_configuration_name:
            reason = "cannot stand beside route_configuration"
            raise ConfigError(join(path, "route_configuration_name"), shown(proto.route_configuration_name), reason)
        place = join(path, "route_configuration")
        return Scope(name, key, compile_route_configuration(proto.route_configuration, place))
    return Scope(name, key, required(proto, "route_configuration_name", path))


def _list(proto: Any, path: str) -> tuple[Scope, ...]:
    path = join(path, "scoped_route_configurations")
    scopes: list[Scope] = []
    for index, each in enumerate(proto.scoped_route_configurations_list.scoped_route_configurations):
        scope = compile_scope(each, f"{path}[{index}]")
        for other in scopes:
            if scope.name == other.name:
                raise ConfigError(f"{path}[{index}].name", shown(scope.name), "this name is used twice")
            if scope.key == other.key:
                raise ConfigError(f"{path}[{index}].key", "", f"scope {other.name} has the same key")
        scopes.append(scope)
    if not scopes:
        raise ConfigError(path, "", "needs at least one scope")
    return tuple(scopes)


def _builders(proto: Any, path: str) -> tuple[FragmentBuilder, ...]:
    path = join(path, "fragments")
    if not proto.fragments:
        raise ConfigError(path, "", "needs at least one fragment")
    return tuple(_builder(each, f"{path}[{index}]") for index, each in enumerate(proto.fragments))


def _builder(proto: Any, path: str) -> FragmentBuilder:
    if proto.WhichOneof("type") != "header_value_extractor":
        raise ConfigError(path, "", "needs a header_value_extractor")
    path, extractor = join(path, "header_value_extractor"), proto.header_value_extractor
    name = required(extractor, "name", path).lower().encode()
    separator = extractor.element_separator.encode()
    chosen = extractor.WhichOneof("extract_type")
    if chosen == "element":
        place = join(path, chosen)
        element = (required(extractor.element, "separator", place), required(extractor.element, "key", place))
        return FragmentBuilder(name, separator, element=(element[0].encode(), element[1].encode()))
    if chosen != "index":
        raise ConfigError(path, "", "needs one of index and element")
    if extractor.index and not separator:
        reason = "needs an element_separator; without one there is only index 0"
        raise ConfigError(join(path, "index"), str(extractor.index), reason)
    return FragmentBuilder(name, separator, int(extractor.index))
