"""Compiles bootstrap_extensions: isthmus.bootstrap.registry_api.v1.RegistryApi, written as xds.type.v3.TypedStruct."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import name_of, unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.typed_struct import plain_fields, struct_integer, struct_seconds
from isthmus_proxy.config.values import is_ip
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.registry_api.model import ApplicationCheck, RegistryApiConfig
from isthmus_proxy.rpc.codecs import codec_names

REGISTRY_API = "isthmus.bootstrap.registry_api.v1.RegistryApi"
_STRUCT = "xds.type.v3.TypedStruct"
_FIELDS = (
    "sofa_port",
    "dubbo_port",
    "outbound_port",
    "host",
    "inbound_port",
    "registration_cluster",
    "registration_clusters",
    "native_host",
    "native_port",
    "instance",
    "keep_alive",
    "stall_timeout",
    "leave_time",
    "application_check",
)
_CHECK_FIELDS = ("port", "codec", "interval", "timeout", "failures")


def compile_registry_api(proto: Any) -> RegistryApiConfig | None:
    """The registry API of a bootstrap; None if it has none. Raises ConfigError."""
    if len(proto.bootstrap_extensions) > 1:
        raise ConfigError("bootstrap_extensions[1]", "", "there is only one bootstrap extension")
    for extension in proto.bootstrap_extensions:
        path = "bootstrap_extensions[0].typed_config"
        struct: Any = unpack_as(extension.typed_config, path, _STRUCT)
        if name_of(struct.type_url) != REGISTRY_API:
            raise ConfigError(join(path, "type_url"), shown(struct.type_url), f"only {REGISTRY_API} is supported here")
        known = {cluster.name for cluster in proto.static_resources.clusters}
        return _compile(plain_fields(struct.value), join(path, "value"), known)
    return None


def _compile(value: dict[str, Any], path: str, clusters: set[str]) -> RegistryApiConfig:
    _refuse_others(value, _FIELDS, path)
    config = RegistryApiConfig(
        sofa_port=_port(value, "sofa_port", 0, path, low=0),
        dubbo_port=_port(value, "dubbo_port", 0, path, low=0),
        outbound_port=_port(value, "outbound_port", 12220, path),
        host=_text(value, "host", "127.0.0.1", path),
        inbound_port=_port(value, "inbound_port", 12200, path),
        clusters=_clusters(value, path, clusters),
        check=_check(value.get("application_check"), join(path, "application_check")),
        native_host=_text(value, "native_host", "", path),
        native_port=_port(value, "native_port", 0, path, low=0),
        instance=_text(value, "instance", "", path),
        keep_alive=_positive(value, "keep_alive", 0.5, path),
        stall_timeout=_positive(value, "stall_timeout", 1.0, path),
        leave_time=struct_seconds(value, "leave_time", 1.0, path),
    )
    if not config.sofa_port and not config.dubbo_port:
        raise ConfigError(path, "", "needs sofa_port or dubbo_port; 13330 and 22222 are what SDKs expect")
    if not is_ip(config.host):
        raise ConfigError(
            join(path, "host"), shown(config.host), "must be the IP address at which others reach this sidecar"
        )
    if config.native_host and not is_ip(config.native_host):
        raise ConfigError(
            join(path, "native_host"),
            shown(config.native_host),
            "must be the IP address at which others reach the application",
        )
    if config.native_host and not config.native_port:
        raise ConfigError(join(path, "native_port"), "", "is needed with native_host")
    return config


def _clusters(value: dict[str, Any], path: str, known: set[str]) -> tuple[str, ...]:
    """The clusters of the registration service in the order in which they are tried."""
    one, several = _text(value, "registration_cluster", "", path), value.get("registration_clusters", [])
    place = join(path, "registration_clusters")
    if one and several:
        raise ConfigError(place, "", "stands beside registration_cluster; name all in registration_clusters")
    if not isinstance(several, list) or not all(isinstance(name, str) for name in several):
        raise ConfigError(place, shown(several), "must be a list of names")
    for name in (one, *several):
        if name and name not in known:
            where = join(path, "registration_cluster") if one else place
            raise ConfigError(where, shown(name), "is not among static_resources.clusters")
    return (one,) if one else tuple(several)


def _positive(value: dict[str, Any], name: str, default: float, path: str) -> float:
    found = struct_seconds(value, name, default, path)
    if not found:
        raise ConfigError(join(path, name), "0s", "must be more than zero")
    return found


def _check(value: Any, path: str) -> ApplicationCheck | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(path, shown(value), "must be a mapping")
    _refuse_others(value, _CHECK_FIELDS, path)
    codec = _text(value, "codec", "bolt", path)
    if codec not in codec_names():
        raise ConfigError(join(path, "codec"), shown(codec), f"must name a codec: {', '.join(codec_names())}")
    return ApplicationCheck(
        port=_port(value, "port", 0, path),
        codec=codec,
        interval=_positive(value, "interval", 5.0, path),
        timeout=_positive(value, "timeout", 1.0, path),
        failures=struct_integer(value, "failures", 3, path, 1, 100),
    )


def _refuse_others(value: dict[str, Any], fields: tuple[str, ...], path: str) -> None:
    for name in value:
        if name not in fields:
            raise ConfigError(join(path, name), "", f"is not a field here; there are {', '.join(fields)}")


def _port(value: dict[str, Any], name: str, default: int, path: str, *, low: int = 1) -> int:
    return struct_integer(value, name, default, path, low, 65535)


def _text(value: dict[str, Any], name: str, default: str, path: str) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise ConfigError(join(path, name), shown(found), "must be text")
    return found
