"""Compiles the static layers of bootstrap.v3.LayeredRuntime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import ADMIN, DISCOVERED, STATIC, Layer, RuntimeConfig, Value, parsed

HARMLESS = ("re2.", "envoy.reloadable_features.", "envoy.deprecated_features.", "envoy.restart_features.")
"""Switches of Envoy's own code paths."""
READ = (
    "upstream.use_retry",
    "upstream.base_retry_backoff_ms",
    "tracing.client_enabled",
    "tracing.random_sampling",
    "tracing.global_enabled",
    "ratelimit.http_filter_",
)
"""Keys that this proxy reads without their being named in a configuration."""
_RESERVED = (
    "upstream.", "overload.", "health_check.", "outlier_detection.", "tracing.", "ssl.", "listener.", "cluster.",
    "http.", "http_connection_manager.", "ratelimit.", "redis.", "mongo.", "thrift.", "fault.", "admin.", "envoy.",
)  # fmt: skip
"""What Envoy's own code reads; any other key only counts where a configuration names it."""
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000, 0: 100, 1: 10_000, 2: 1_000_000}


def compile_runtime(runtime: Any) -> RuntimeConfig:
    """Compile the layers, keys joined by dots. Raises ConfigError for keys that would be ignored."""
    layers: list[Layer] = []
    for index, proto in enumerate(runtime.layers):
        path = f"layered_runtime.layers[{index}]"
        layer = _layer(proto, path)
        if layer.name in {each.name for each in layers}:
            raise ConfigError(join(path, "name"), shown(layer.name), "another layer has this name")
        if layer.kind == ADMIN and ADMIN in {each.kind for each in layers}:
            raise ConfigError(join(path, "admin_layer"), "", "there may be only one admin layer")
        layers.append(layer)
    return RuntimeConfig(tuple(layers))


def _layer(proto: Any, path: str) -> Layer:
    name = required(proto, "name", path)
    kind = proto.WhichOneof("layer_specifier")
    if kind == "static_layer":
        return Layer(name, STATIC, layer_values(proto.static_layer, join(path, kind)))
    if kind == "admin_layer":
        return Layer(name, ADMIN)
    if kind != "rtds_layer":
        raise ConfigError(path, "", "needs one of static_layer, admin_layer and rtds_layer")
    source, place = proto.rtds_layer.rtds_config, join(path, "rtds_layer.rtds_config")
    if source.WhichOneof("config_source_specifier") != "ads":
        chosen = source.WhichOneof("config_source_specifier") or ""
        raise ConfigError(place, shown(chosen), "only ads is supported: ads: {}")
    resource = required(proto.rtds_layer, "name", join(path, "rtds_layer"))
    return Layer(name, DISCOVERED, {}, resource, seconds(source, "initial_fetch_timeout", 15.0, place))


def layer_values(struct: Any, path: str) -> dict[str, Value]:
    """The values of a layer by key. Raises ConfigError for keys that would be ignored."""
    return dict(_entries(struct, "", path))


def _entries(struct: Any, prefix: str, path: str) -> Iterator[tuple[str, Value]]:
    for name, value in struct.fields.items():
        key = f"{prefix}.{name}" if prefix else name
        place = join(path, name)
        kind = value.WhichOneof("kind")
        if kind == "struct_value":
            if "numerator" in value.struct_value.fields or "denominator" in value.struct_value.fields:
                _refuse_ignored(key, value, place)
                yield key, _fraction(value.struct_value, place)
            else:
                yield from _entries(value.struct_value, key, place)
            continue
        _refuse_ignored(key, value, place)
        if kind == "string_value":
            yield key, parsed(value.string_value)
        elif kind in ("number_value", "bool_value"):
            yield key, getattr(value, kind)
        else:
            raise ConfigError(place, shown(str(value).strip()), "must be a number, a string, true or false")


def _fraction(struct: Any, path: str) -> tuple[int, int]:
    numerator, denominator = struct.fields["numerator"], struct.fields["denominator"]
    named = denominator.string_value or int(denominator.number_value)
    number = numerator.number_value
    if named not in _DENOMINATORS or number < 0 or number != int(number):
        raise ConfigError(path, shown(str(struct).strip()), "must be a FractionalPercent")
    return int(number), _DENOMINATORS[named]


def _refuse_ignored(key: str, value: Any, path: str) -> None:
    of_limit = key.startswith("ratelimit.") and key.endswith(".http_filter_enabled")  # a disable_key is in between
    if key.startswith(_RESERVED) and not of_limit and not key.startswith((*HARMLESS, *READ)):
        reason = "run-time keys of this kind are not read, and ignoring it would change behaviour; set the field itself"
        raise ConfigError(path, shown(str(value).strip()), reason)
