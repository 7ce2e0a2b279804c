"""Compiles upgrade_configs of connection managers and of routes: WebSocket, CONNECT and whatever else clients upgrade to."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import flag, required
from isthmus_proxy.errors import ConfigError

CONNECT = b"connect"
"""The upgrade type that stands for the method CONNECT."""


def compile_upgrades(proto: Any, path: str) -> tuple[tuple[bytes, bool], ...]:
    """Lower-case upgrade types with whether they are enabled. Raises ConfigError."""
    found: dict[bytes, bool] = {}
    for index, upgrade in enumerate(proto.upgrade_configs):
        place = f"{join(path, 'upgrade_configs')}[{index}]"
        name = required(upgrade, "upgrade_type", place).lower().encode()
        if name in found:
            raise ConfigError(join(place, "upgrade_type"), shown(upgrade.upgrade_type), "is configured twice")
        if name == b"connect-udp":
            raise ConfigError(join(place, "upgrade_type"), shown(upgrade.upgrade_type), "UDP is not proxied")
        found[name] = flag(upgrade, "enabled", default=True)
    return tuple(found.items())


def terminates_connect(action: Any, path: str) -> bool:
    """Whether a route's upgrade_configs have a connect_config. Raises ConfigError."""
    terminates = False
    for index, upgrade in enumerate(action.upgrade_configs):
        if upgrade.HasField("connect_config"):
            if upgrade.upgrade_type.lower().encode() != CONNECT:
                place = f"{join(path, 'upgrade_configs')}[{index}].connect_config"
                raise ConfigError(place, shown(upgrade.upgrade_type), "is of the upgrade type CONNECT only")
            terminates = True
    return terminates
