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
        cluster=_text(value, "registration_cluster", "", path),
        check=_check(value.get("application_check"), join(path, "application_check")),
    )
    if not config.sofa_port and not config.dubbo_port:
        raise ConfigError(path, "", "needs sofa_port or dubbo_port; 13330 and 22222 are what SDKs expect")
    if not is_ip(config.host):
        raise ConfigError(
            join(path, "host"), shown(config.host), "must be the IP address at which others reach this sidecar"
        )
    if config.cluster and config.cluster not in clusters:
        place = join(path, "registration_cluster")
        raise ConfigError(place, shown(config.cluster), "is not among static_resources.clusters")
    return config


def _check(value: Any, path: str) -> ApplicationCheck | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(path, shown(value), "must be a mapping")
    _refuse_others(value, _CHECK_FIELDS, path)
    codec = _text(value, "codec", "bolt", path)
    if codec not in codec_names():
        raise ConfigError(join(path, "codec"), shown(codec), f"must name a codec: {', '.join(codec_names())}")
    check = ApplicationCheck(
        port=_port(value, "port", 0, path),
        codec=codec,
        interval=struct_seconds(value, "interval", 5.0, path),
        timeout=struct_seconds(value, "timeout", 1.0, path),
        failures=struct_integer(value, "failures", 3, path, 1, 100),
    )
    for name, found in (("interval", check.interval), ("timeout", check.timeout)):
        if not found:
            raise ConfigError(join(path, name), "0s", "must be more than zero")
    return check


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
