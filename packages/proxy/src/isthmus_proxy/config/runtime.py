"""Compiles the static layers of bootstrap.v3.LayeredRuntime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import RuntimeConfig, Value, parsed

HARMLESS = ("re2.", "envoy.reloadable_features.", "envoy.deprecated_features.", "envoy.restart_features.")
"""Switches of Envoy's own code paths."""
READ = ("upstream.use_retry", "upstream.base_retry_backoff_ms")
"""Keys that this proxy reads without their being named in a configuration."""
_RESERVED = (
    "upstream.", "overload.", "health_check.", "outlier_detection.", "tracing.", "ssl.", "listener.", "cluster.",
    "http.", "http_connection_manager.", "ratelimit.", "redis.", "mongo.", "thrift.", "fault.", "admin.", "envoy.",
)  # fmt: skip
"""What Envoy's own code reads; any other key only counts where a configuration names it."""
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000, 0: 100, 1: 10_000, 2: 1_000_000}


def compile_runtime(runtime: Any) -> RuntimeConfig:
    """Compile the layers, keys joined by dots. Raises ConfigError for keys that would be ignored."""
    below: dict[str, Value] = {}
    above: dict[str, Value] = {}
    admin_layer = False
    for index, layer in enumerate(runtime.layers):
        path = f"layered_runtime.layers[{index}]"
        if layer.WhichOneof("layer_specifier") == "static_layer":
            (above if admin_layer else below).update(_entries(layer.static_layer, "", join(path, "static_layer")))
        elif admin_layer:
            raise ConfigError(join(path, "admin_layer"), "", "there may be only one admin layer")
        else:
            admin_layer = True
    return RuntimeConfig(below, above, admin_layer)


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
    if key.startswith(_RESERVED) and not key.startswith((*HARMLESS, *READ)):
        reason = "run-time keys of this kind are not read, and ignoring it would change behaviour; set the field itself"
        raise ConfigError(path, shown(str(value).strip()), reason)
