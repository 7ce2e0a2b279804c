"""Compiles the filter ``isthmus.filters.http.python``, whose message is an xds.type.v3.TypedStruct: Envoy's messages know no such thing.

    name: sign
    typed_config:
      "@type": type.googleapis.com/xds.type.v3.TypedStruct
      type_url: type.googleapis.com/isthmus.filters.http.python
      value:
        filter: header-signing       # entry point of an installed package
        config: {key_file: /etc/key} # what the filter's parse_config gets
        timeout: 0.5s
        error_policy: FAIL_OPEN

A route's entry has ``filter`` and ``config`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from isthmus_proxy.config.parse import duration_seconds, join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.extension.http_filter import HttpFilter
from isthmus_proxy.http.filters.python.config import Limits, PythonFilterConfig, PythonRouteConfig
from isthmus_proxy.http.filters.python.loading import load_filter

_FIELDS = frozenset(
    {
        "filter", "config", "timeout", "slow", "demote_after", "threads", "max_threads", "max_active", "error_policy",
        "buffer_request_bytes", "buffer_response_bytes",
    }
)  # fmt: skip
_ROUTE_FIELDS = frozenset({"filter", "config"})
_POLICIES = ("FAIL_CLOSED", "FAIL_OPEN")
_LARGEST = 1 << 30

Load = Callable[[str, str], type[HttpFilter[Any]]]


def compile_python(proto: Any, path: str, load: Load = load_filter) -> PythonFilterConfig:
    """Compile the filter's own struct. Raises ConfigError."""
    path = join(path, "value")
    values = _values(proto, path, _FIELDS)
    name, kind = _kind(values, path, load)
    defaults = Limits()
    limits = Limits(
        timeout=_seconds(values, "timeout", defaults.timeout, path),
        slow=_seconds(values, "slow", defaults.slow, path),
        demote_after=_integer(values, "demote_after", defaults.demote_after, path, low=0),
        threads=_integer(values, "max_threads", 4, path, low=1, high=64) if _flag(values, "threads", path) else 0,
        max_active=_integer(values, "max_active", defaults.max_active, path, low=1),
        fail_open=_policy(values, path) == "FAIL_OPEN",
        buffer_request_bytes=_optional(values, "buffer_request_bytes", path),
        buffer_response_bytes=_optional(values, "buffer_response_bytes", path),
    )
    return PythonFilterConfig(name, kind, _parsed(kind.parse_config, values, path), limits)


def compile_python_per_route(proto: Any, path: str, load: Load = load_filter) -> PythonRouteConfig:
    """Compile a route's struct. Raises ConfigError."""
    path = join(path, "value")
    values = _values(proto, path, _ROUTE_FIELDS)
    name, kind = _kind(values, path, load)
    return PythonRouteConfig(name, _parsed(kind.parse_route_config, values, path))


def _values(proto: Any, path: str, known: frozenset[str]) -> dict[str, Any]:
    values: dict[str, Any] = _whole(MessageToDict(proto.value))
    for name in values:
        if name not in known:
            fields = ", ".join(sorted(known))
            raise ConfigError(join(path, name), "", f"is no field of isthmus.filters.http.python; it has {fields}")
    return values


def _whole(value: Any) -> Any:
    """A Struct has doubles only: whole ones become integers."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kind(values: Mapping[str, Any], path: str, load: Load) -> tuple[str, type[HttpFilter[Any]]]:
    name = values.get("filter")
    if not isinstance(name, str) or not name:
        raise ConfigError(
            join(path, "filter"), shown(name or ""), "is required: the entry point of an installed filter"
        )
    return name, load(name, join(path, "filter"))


def _parsed(parse: Callable[[Mapping[str, Any]], Any], values: Mapping[str, Any], path: str) -> Any:
    config = values.get("config", {})
    place = join(path, "config")
    if not isinstance(config, dict):
        raise ConfigError(place, shown(config), "must be a mapping")
    try:
        return parse(config)
    except ConfigError as error:
        raise ConfigError(join(place, error.path), error.value, error.reason) from error
    except Exception as error:
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ConfigError(place, "", told) from error


def _seconds(values: Mapping[str, Any], name: str, default: float, path: str) -> float:
    if name not in values:
        return default
    place = join(path, name)
    seconds = duration_seconds(values[name], place)
    if seconds <= 0:
        raise ConfigError(place, shown(values[name]), "must be more than zero")
    return seconds


def _integer(values: Mapping[str, Any], name: str, default: int, path: str, *, low: int, high: int = _LARGEST) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(join(path, name), shown(value), f"must be a whole number from {low} to {high}")
    return value


def _optional(values: Mapping[str, Any], name: str, path: str) -> int | None:
    return _integer(values, name, 0, path, low=1) if name in values else None


def _flag(values: Mapping[str, Any], name: str, path: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(join(path, name), shown(value), "must be true or false")
    return value


def _policy(values: Mapping[str, Any], path: str) -> str:
    value = values.get("error_policy", _POLICIES[0])
    if value not in _POLICIES:
        raise ConfigError(join(path, "error_policy"), shown(value), f"must be {' or '.join(_POLICIES)}")
    return str(value)
