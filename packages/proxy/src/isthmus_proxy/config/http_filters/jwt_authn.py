"""Compiles envoy.extensions.filters.http.jwt_authn.v3."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from isthmus_proxy.config.data_source import read_data_source
from isthmus_proxy.config.http_uri import compile_http_uri
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_match, compile_string
from isthmus_proxy.config.values import optional_seconds, positive_seconds, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.jwt_authn import JwtConfig, JwtPerRoute, RequirementRule
from isthmus_proxy.jwt.authenticate import bare_audiences
from isthmus_proxy.jwt.model import (
    Allowing,
    ByProvider,
    HeaderLocation,
    Provider,
    RemoteJwks,
    Requirement,
    RequiresAll,
    RequiresAny,
)

_MAX_JWKS = 1024 * 1024
_DEFAULT_CACHE = 100
Providers = Mapping[str, Provider]


def compile_jwt_authn(proto: Any, path: str) -> JwtConfig:
    """Compile the filter's message. Raises ConfigError."""
    if find_spec("cryptography") is None:
        raise ConfigError(path, "", "jwt_authn needs the package cryptography; install isthmus-proxy[jwt]")
    place = join(path, "providers")
    providers = {name: _provider(name, proto.providers[name], f'{place}["{name}"]') for name in sorted(proto.providers)}
    place = join(path, "requirement_map")
    named = {
        name: _needed(proto.requirement_map[name], f'{place}["{name}"]', providers)
        for name in sorted(proto.requirement_map)
    }
    state = proto.filter_state_rules
    place = join(path, "filter_state_rules")
    return JwtConfig(
        tuple(providers.values()),
        tuple(_rule(each, f"{join(path, 'rules')}[{i}]", providers, named) for i, each in enumerate(proto.rules)),
        named,
        filter_state_key=required(state, "name", place) if proto.HasField("filter_state_rules") else "",
        by_filter_state={
            value: _needed(state.requires[value], f'{join(place, "requires")}["{value}"]', providers)
            for value in sorted(state.requires)
        },
        bypass_cors_preflight=proto.bypass_cors_preflight,
        strip_failure_response=proto.strip_failure_response,
        stat_prefix=proto.stat_prefix,
    )


def compile_jwt_per_route(proto: Any, path: str) -> JwtPerRoute:
    """Compile a route's message. Raises ConfigError."""
    chosen = proto.WhichOneof("requirement_specifier")
    if chosen == "requirement_name":
        return JwtPerRoute(required(proto, "requirement_name", path))
    if chosen != "disabled" or not proto.disabled:
        raise ConfigError(path, "", "needs requirement_name, or disabled: true")
    return JwtPerRoute()


def _provider(name: str, proto: Any, path: str) -> Provider:
    local, remote = _keys(proto, path)
    locations = tuple(
        HeaderLocation(
            required(each, "name", f"{join(path, 'from_headers')}[{i}]").lower().encode(), each.value_prefix.encode()
        )
        for i, each in enumerate(proto.from_headers)
    )
    parameters, cookies = (
        tuple(each.encode() for each in proto.from_params),
        tuple(each.encode() for each in proto.from_cookies),
    )
    if not locations and not parameters and not cookies:
        locations, parameters = (HeaderLocation(b"authorization", b"Bearer "),), (b"access_token",)
    cache = proto.jwt_cache_config
    return Provider(
        name,
        proto.issuer,
        local,
        remote,
        audiences=bare_audiences(proto.audiences),
        subjects=compile_string(proto.subjects, join(path, "subjects")) if proto.HasField("subjects") else None,
        require_expiration=proto.require_expiration,
        max_lifetime=optional_seconds(proto, "max_lifetime", path),
        headers=locations,
        parameters=parameters,
        cookies=cookies,
        forward=proto.forward,
        payload_header=_header_name(proto.forward_payload_header, join(path, "forward_payload_header")),
        pad_payload_header=proto.pad_forward_payload_header,
        payload_in_metadata=proto.payload_in_metadata,
        header_in_metadata=proto.header_in_metadata,
        space_delimited_claims=tuple(proto.normalize_payload_in_metadata.space_delimited_claims),
        clock_skew=proto.clock_skew_seconds or 60,
        claims=_claims(proto, join(path, "claim_to_headers")),
        clear_route_cache=proto.clear_route_cache,
        cache_size=(cache.jwt_cache_size or _DEFAULT_CACHE) if proto.HasField("jwt_cache_config") else 0,
        cached_token_size=cache.jwt_max_token_size or 4096,
    )


def _header_name(name: str, path: str) -> bytes:
    if name and (not name.isascii() or not name.isprintable() or set(name) & set(' :"(),/;<=>?@[]\\{}')):
        raise ConfigError(path, shown(name), "is no name of a header")
    return name.lower().encode()


def _claims(proto: Any, path: str) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    found = []
    for index, each in enumerate(proto.claim_to_headers):
        place = f"{path}[{index}]"
        name = _header_name(required(each, "header_name", place), join(place, "header_name"))
        found.append((name, tuple(required(each, "claim_name", place).split("."))))
    return tuple(found)


def _keys(proto: Any, path: str) -> tuple[bytes | None, RemoteJwks | None]:
    chosen = proto.WhichOneof("jwks_source_specifier")
    if chosen is None:
        raise ConfigError(path, "", "needs one of remote_jwks and local_jwks")
    if chosen == "local_jwks":
        return _local(proto.local_jwks, join(path, chosen)), None
    return None, _remote(proto.remote_jwks, join(path, chosen))


def _local(source: Any, path: str) -> bytes:
    from isthmus_proxy.jwt.jwks import parse_jwks  # noqa: PLC0415 - loads the library of signatures

    data = read_data_source(source, path, _MAX_JWKS)
    if not parse_jwks(data):
        raise ConfigError(path, "", "is no key set (RFC 7517) with a key that can be used")
    return data


def _remote(proto: Any, path: str) -> RemoteJwks:
    place = join(path, "http_uri")
    uri = compile_http_uri(proto.http_uri, place)
    advance = proto.async_fetch
    return RemoteJwks(
        uri.cluster,
        uri.authority,
        uri.path,
        uri.timeout,
        cache_duration=positive_seconds(proto, "cache_duration", 600.0, path),
        in_advance=proto.HasField("async_fetch"),
        retry_after_failure=positive_seconds(advance, "failed_refetch_duration", 1.0, join(path, "async_fetch")),
    )


def _rule(proto: Any, path: str, providers: Providers, named: Mapping[str, Requirement]) -> RequirementRule:
    if not proto.HasField("match"):
        raise ConfigError(join(path, "match"), "", "is required")
    match = compile_match(proto.match, join(path, "match"))
    if match.fraction is not None:
        raise ConfigError(join(path, "match.runtime_fraction"), "", "is not supported; Envoy does not look at it here")
    chosen = proto.WhichOneof("requirement_type")
    if chosen == "requirement_name":
        if proto.requirement_name not in named:
            raise ConfigError(join(path, chosen), shown(proto.requirement_name), "is not in requirement_map")
        return RequirementRule(match, named[proto.requirement_name])
    return RequirementRule(match, compile_requirement(proto.requires, join(path, "requires"), providers))


def _needed(proto: Any, path: str, providers: Providers) -> Requirement:
    compiled = compile_requirement(proto, path, providers)
    if compiled is None:
        raise ConfigError(path, "", "says nothing; set a requirement")
    return compiled


def compile_requirement(proto: Any, path: str, providers: Providers) -> Requirement | None:
    """Compile a JwtRequirement; None if nothing is required. Raises ConfigError."""
    chosen = proto.WhichOneof("requires_type")
    if chosen is None:
        return None
    place = join(path, chosen)
    if chosen == "provider_name":
        return ByProvider(_named(proto.provider_name, place, providers))
    if chosen == "provider_and_audiences":
        both = proto.provider_and_audiences
        provider = _named(both.provider_name, join(place, "provider_name"), providers)
        return ByProvider(provider, bare_audiences(both.audiences))
    if chosen == "requires_all":
        return RequiresAll(_list(proto.requires_all.requirements, join(place, "requirements"), providers))
    if chosen == "requires_any":
        return _any(proto.requires_any.requirements, join(place, "requirements"), providers)
    return Allowing(tuple(providers.values()), failed=chosen == "allow_missing_or_failed")


def _list(protos: Any, path: str, providers: Providers) -> tuple[Requirement, ...]:
    if len(protos) < 2:
        raise ConfigError(path, "", "needs at least two")
    return tuple(_needed(each, f"{path}[{i}]", providers) for i, each in enumerate(protos))


def _any(protos: Any, path: str, providers: Providers) -> Requirement:
    compiled = _list(protos, path, providers)
    lenient = [each for each in compiled if isinstance(each, Allowing)]
    strict = tuple(each for each in compiled if not isinstance(each, Allowing))
    failed = any(each.failed for each in lenient)
    return RequiresAny(strict or tuple(lenient[:1]), missing=bool(lenient), failed=failed)


def _named(name: str, path: str, providers: Providers) -> Provider:
    if name not in providers:
        raise ConfigError(path, shown(name), "there is no such provider")
    return providers[name]
