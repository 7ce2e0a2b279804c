"""Compiles config.core.v3.CidrRange."""

from __future__ import annotations

import ipaddress
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import IpNetwork


def compile_ranges(ranges: Any, path: str) -> tuple[IpNetwork, ...]:
    """The networks of a repeated CidrRange; bits behind the prefix do not count. Raises ConfigError."""
    return tuple(_network(each, f"{path}[{index}]") for index, each in enumerate(ranges))


def _network(each: Any, path: str) -> IpNetwork:
    text = f"{each.address_prefix}/{each.prefix_len.value}"
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(join(path, "address_prefix"), shown(text), f"is no range of addresses: {error}") from error
