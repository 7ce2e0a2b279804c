"""Compiles HTTP filters whose configuration comes over xDS (config.core.v3.ExtensionConfigSource), and what comes."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.extensions import name_of, own_name_of
from isthmus_proxy.config.http_filter import COMPILERS, compile_filter
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.source import compile_source
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension


def compile_discovered(proto: Any, path: str) -> DiscoveredFilterConfig:
    """An HttpFilter with ``config_discovery``. Raises ConfigError."""
    name = required(proto, "name", path)
    path, section = join(path, "config_discovery"), proto.config_discovery
    if not section.HasField("config_source"):
        raise ConfigError(join(path, "config_source"), "", "is required")
    place = join(path, "config_source")
    kinds = _kinds(section.type_urls, join(path, "type_urls"))
    default = None
    if section.HasField("default_config"):
        default = compile_filter(section.default_config, join(path, "default_config"))
        _check_kind(section.default_config, kinds, join(path, "default_config"))
    elif section.apply_default_config_without_warming:
        reason = "needs a default_config"
        raise ConfigError(join(path, "apply_default_config_without_warming"), "true", reason)
    return DiscoveredFilterConfig(
        name,
        kinds,
        default,
        without_warming=section.apply_default_config_without_warming,
        initial_fetch_timeout=seconds(section.config_source, "initial_fetch_timeout", 15.0, place),
        source=compile_source(section.config_source, place),
    )


def compile_extension(proto: Any) -> Extension:
    """A TypedExtensionConfig as a control plane sent it. Raises ConfigError."""
    check(proto.typed_config, "typed_config")
    config = compile_filter(proto.typed_config, "typed_config")
    return Extension(own_name_of(proto.typed_config, "typed_config"), config)


def _kinds(type_urls: Any, path: str) -> frozenset[str]:
    if not type_urls:
        raise ConfigError(path, "", "needs at least one type URL")
    for index, url in enumerate(type_urls):
        if name_of(url) not in COMPILERS:
            reason = "is no HTTP filter that is supported; see docs/reference/proxy-http.md"
            raise ConfigError(f"{path}[{index}]", shown(url), reason)
    return frozenset(map(name_of, type_urls))


def _check_kind(packed: Any, kinds: frozenset[str], path: str) -> None:
    kind = own_name_of(packed, path)
    if kind not in kinds:
        raise ConfigError(path, kind, "is not among type_urls: " + ", ".join(sorted(kinds)))
