"""Compiles config.route.v3.RateLimit: the actions that make descriptors of requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_headers, compile_string
from isthmus_proxy.config.values import flag, number, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.ratelimit import descriptors as actions
from isthmus_proxy.route.matcher import fields_tests, string_test

MAX_STAGE = 10


def compile_rate_limits(protos: Any, path: str, *, staged: bool = True) -> tuple[actions.RateLimit, ...]:
    """Compile a list of rate limits. Raises ConfigError, also for stages and keys where they are not ``staged``."""
    return tuple(_rate_limit(each, f"{path}[{index}]", staged=staged) for index, each in enumerate(protos))


def _rate_limit(proto: Any, path: str, *, staged: bool) -> actions.RateLimit:
    if not proto.actions:
        raise ConfigError(join(path, "actions"), "", "needs at least one action")
    if not staged and (proto.HasField("stage") or proto.disable_key):
        name = "stage" if proto.HasField("stage") else "disable_key"
        raise ConfigError(join(path, name), "", "is not supported in the configuration of a filter; use rate_limits")
    stage = number(proto, "stage", 0, path)
    if stage > MAX_STAGE:
        raise ConfigError(join(path, "stage"), str(stage), f"must be at most {MAX_STAGE}")
    found = tuple(_action(each, f"{join(path, 'actions')}[{index}]") for index, each in enumerate(proto.actions))
    return actions.RateLimit(found, stage, proto.disable_key)


def _action(proto: Any, path: str) -> actions.Action:
    chosen = proto.WhichOneof("action_specifier")
    if chosen not in _COMPILERS:
        raise ConfigError(path, shown(chosen or ""), f"needs one of {', '.join(_COMPILERS)}")
    return _COMPILERS[chosen](getattr(proto, chosen), join(path, chosen))


def _request_header(proto: Any, path: str) -> actions.Action:
    name = required(proto, "header_name", path).lower().encode()
    return actions.RequestHeader(name, required(proto, "descriptor_key", path), proto.skip_if_absent)


def _query_parameter(proto: Any, path: str) -> actions.Action:
    name = required(proto, "query_parameter_name", path).encode()
    return actions.QueryParameter(name, required(proto, "descriptor_key", path), proto.skip_if_absent)


def _masked(proto: Any, path: str) -> actions.Action:
    return actions.MaskedRemoteAddress(
        _bits(proto, "v4_prefix_mask_len", 32, path), _bits(proto, "v6_prefix_mask_len", 128, path)
    )


def _bits(proto: Any, name: str, most: int, path: str) -> int:
    bits = number(proto, name, most, path)
    if bits > most:
        raise ConfigError(join(path, name), str(bits), f"must be at most {most}")
    return bits


def _generic_key(proto: Any, path: str) -> actions.Action:
    return actions.GenericKey(_constant(proto, path), proto.descriptor_key or "generic_key")


def _constant(proto: Any, path: str) -> bytes:
    value = required(proto, "descriptor_value", path)
    if "%" in value:
        raise ConfigError(join(path, "descriptor_value"), shown(value), "format commands are not supported here")
    return value.encode()


def _header_value_match(proto: Any, path: str) -> actions.Action:
    if not proto.headers:
        raise ConfigError(join(path, "headers"), "", "needs at least one header")
    return actions.HeaderValueMatch(
        _constant(proto, path),
        fields_tests(compile_headers(proto, "headers", path)),
        proto.descriptor_key or "header_match",
        flag(proto, "expect_match", default=True),
    )


def _query_value_match(proto: Any, path: str) -> actions.Action:
    if not proto.query_parameters:
        raise ConfigError(join(path, "query_parameters"), "", "needs at least one parameter")
    return actions.QueryParameterValueMatch(
        _constant(proto, path),
        tuple(
            _query_test(each, f"{join(path, 'query_parameters')}[{index}]")
            for index, each in enumerate(proto.query_parameters)
        ),
        proto.descriptor_key or "query_match",
        flag(proto, "expect_match", default=True),
    )


def _query_test(proto: Any, path: str) -> actions.QueryTest:
    name = required(proto, "name", path).encode()
    chosen = proto.WhichOneof("query_parameter_match_specifier")
    if chosen == "string_match":
        return actions.QueryTest(name, string_test(compile_string(proto.string_match, join(path, chosen))))
    return actions.QueryTest(name, present=chosen is None or proto.present_match)


def _metadata(proto: Any, path: str) -> actions.Action:
    key, place = proto.metadata_key, join(path, "metadata_key")
    if not key.path:
        raise ConfigError(join(place, "path"), "", "needs at least one key")
    steps = tuple(required(step, "key", f"{join(place, 'path')}[{index}]") for index, step in enumerate(key.path))
    return actions.MetadataValue(
        required(proto, "descriptor_key", path),
        required(key, "key", place),
        steps,
        proto.default_value.encode(),
        of_route=proto.source == type(proto).ROUTE_ENTRY,
        skip_if_absent=proto.skip_if_absent,
    )


_COMPILERS: dict[str, Callable[[Any, str], actions.Action]] = {
    "source_cluster": lambda _proto, _path: actions.SourceCluster(),
    "destination_cluster": lambda _proto, _path: actions.DestinationCluster(),
    "request_headers": _request_header,
    "query_parameters": _query_parameter,
    "remote_address": lambda _proto, _path: actions.RemoteAddress(),
    "masked_remote_address": _masked,
    "generic_key": _generic_key,
    "header_value_match": _header_value_match,
    "query_parameter_value_match": _query_value_match,
    "metadata": _metadata,
}
