"""Compiles config.rbac.v3.RBAC: the policies of the HTTP and of the network filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from isthmus_proxy.config.ip_ranges import compile_ranges
from isthmus_proxy.config.metadata_match import compile_metadata_match
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_header_match, compile_path_template, compile_string
from isthmus_proxy.config.values import enum_name, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.rbac.model import (
    Action,
    AddressIn,
    AllOf,
    AnyOf,
    Anything,
    Authenticated,
    DestinationPort,
    FilterStateIs,
    HeaderIs,
    MetadataIs,
    Not,
    PathIs,
    Policy,
    Rule,
    Rules,
    ServerNameIs,
)
from isthmus_proxy.route.model import StringMatch

_ADDRESSES: dict[str, Literal["destination", "source", "remote", "direct_remote"]] = {
    "destination_ip": "destination",
    "source_ip": "source",
    "remote_ip": "remote",
    "direct_remote_ip": "direct_remote",
}
_SETS = {"and_rules": "rules", "or_rules": "rules", "and_ids": "ids", "or_ids": "ids"}


def compile_rbac(proto: Any, path: str) -> Rules:
    """Compile policies. Raises ConfigError."""
    place = join(path, "policies")
    return Rules(
        cast("Action", enum_name(proto, "action")),
        tuple(_policy(name, proto.policies[name], f'{place}["{name}"]') for name in sorted(proto.policies)),
    )


def _policy(name: str, proto: Any, path: str) -> Policy:
    return Policy(
        name,
        _rules(proto.permissions, join(path, "permissions")),
        _rules(proto.principals, join(path, "principals")),
    )


def _rules(protos: Sequence[Any], path: str) -> tuple[Rule, ...]:
    if not protos:
        raise ConfigError(path, "", "needs at least one; any: true stands for everything")
    return tuple(_rule(each, f"{path}[{i}]") for i, each in enumerate(protos))


def _rule(proto: Any, path: str) -> Rule:
    """A Permission or a Principal: what they have in common has the same names in both."""
    oneof = proto.DESCRIPTOR.oneofs[0].name
    chosen = proto.WhichOneof(oneof)
    if chosen is None:
        raise ConfigError(path, "", f"its {oneof} is missing; any: true stands for everything")
    place, value = join(path, chosen), getattr(proto, chosen)
    if chosen in _SETS:
        inner = _rules(getattr(value, _SETS[chosen]), join(place, _SETS[chosen]))
        return AllOf(inner) if chosen.startswith("and") else AnyOf(inner)
    if chosen in ("not_rule", "not_id"):
        return Not(_rule(value, place))
    if chosen == "any":
        if not value:
            raise ConfigError(place, "false", "can only be true")
        return Anything()
    if chosen in _ADDRESSES:
        return AddressIn(_ADDRESSES[chosen], compile_ranges((value,), place)[0])
    return _leaf(chosen, value, place)


def _leaf(chosen: str, value: Any, path: str) -> Rule:
    if chosen == "header":
        return HeaderIs(compile_header_match(value, path))
    if chosen == "url_path":
        if not value.HasField("path"):
            raise ConfigError(join(path, "path"), "", "is required")
        return PathIs(compile_string(value.path, join(path, "path")))
    if chosen == "uri_template":
        return PathIs(StringMatch("template", compile_path_template(value, path).regex))
    if chosen == "metadata":
        return MetadataIs(compile_metadata_match(value, path))
    if chosen == "sourced_metadata":
        match = compile_metadata_match(value.metadata_matcher, join(path, "metadata_matcher"))
        return MetadataIs(match, of_route=enum_name(value, "metadata_source") == "ROUTE")
    if chosen == "filter_state":
        return FilterStateIs(
            required(value, "key", path), compile_string(value.string_match, join(path, "string_match"))
        )
    if chosen == "requested_server_name":
        return ServerNameIs(compile_string(value, path))
    if chosen == "authenticated":
        return _authenticated(value, path)
    return _ports(chosen, value, path)


def _authenticated(value: Any, path: str) -> Rule:
    if not value.HasField("principal_name"):
        return Authenticated()
    return Authenticated(compile_string(value.principal_name, join(path, "principal_name")))


def _ports(chosen: str, value: Any, path: str) -> Rule:
    start, end = (value.start, value.end) if chosen == "destination_port_range" else (value, value + 1)
    if not 0 <= start < end <= 65536:
        raise ConfigError(path, shown(f"{start}-{end}"), "must be ports from 0 to 65535, the end after the start")
    return DestinationPort(start, end)
