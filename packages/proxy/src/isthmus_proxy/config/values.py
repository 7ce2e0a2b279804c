"""Small readings of protobuf values that every compiler of this package needs."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from google.protobuf.message import Message

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError


def seconds(message: Any, name: str, default: float, path: str) -> float:
    """Duration field ``name`` in seconds, ``default`` when it is not set. Raises ConfigError for a negative one."""
    if not message.HasField(name):
        return default
    duration = getattr(message, name)
    value = float(duration.seconds) + float(duration.nanos) / 1e9
    if value < 0:
        raise ConfigError(join(path, name), f"{value}s", "must not be negative")
    return value


def optional_seconds(message: Any, name: str, path: str) -> float | None:
    """Duration field ``name`` in seconds, None when it is not set."""
    return seconds(message, name, 0.0, path) if message.HasField(name) else None


def positive_seconds(message: Any, name: str, default: float, path: str) -> float:
    """Like ``seconds``, and zero is refused too."""
    value = seconds(message, name, default, path)
    if value == 0:
        raise ConfigError(join(path, name), "0s", "must be more than zero")
    return value


def number(message: Any, name: str, default: int, path: str, low: int = 0) -> int:
    """Value of the integer wrapper ``name``, ``default`` when it is not set. Raises ConfigError below ``low``."""
    if not message.HasField(name):
        return default
    value = int(getattr(message, name).value)
    if value < low:
        raise ConfigError(join(path, name), str(value), f"must be at least {low}")
    return value


def flag(message: Any, name: str, default: bool) -> bool:
    """Value of the boolean wrapper ``name``, ``default`` when it is not set."""
    return bool(getattr(message, name).value) if message.HasField(name) else default


def required(message: Any, name: str, path: str) -> str:
    """Value of the string field ``name``. Raises ConfigError when it is empty."""
    value = str(getattr(message, name))
    if not value:
        raise ConfigError(join(path, name), "", "is required and must not be empty")
    return value


def enum_name(message: Any, name: str) -> str:
    """Name of the value of the enum field ``name``."""
    value = getattr(message, name)
    return str(message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[value].name)


def content_hash(message: Message) -> str:
    """Hash of the message: equal hashes mean that there is nothing to change."""
    return hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=16).hexdigest()


def is_ip(host: str) -> bool:
    """Whether ``host`` is an IP address literal."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def socket_address(address: Any, path: str, *, names: bool = False) -> tuple[str, int]:
    """Host and port of a core.v3.Address. The host must be an IP address, or any name when ``names`` is true."""
    if not address.HasField("socket_address"):
        raise ConfigError(join(path, "socket_address"), "", "is required")
    path = join(path, "socket_address")
    socket = address.socket_address
    host = required(socket, "address", path)
    if not names and not is_ip(host):
        raise ConfigError(join(path, "address"), shown(host), "must be an IP address; for names use type STRICT_DNS")
    if socket.port_value > 65535:
        raise ConfigError(join(path, "port_value"), str(socket.port_value), "must be at most 65535")
    return host, int(socket.port_value)
