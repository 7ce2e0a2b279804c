"""Schemes of registered addresses, and the service port that each family of them has where nobody states one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus_mcp_bridge.model import ServicePort


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """Schemes that share a service port: the port's name and protocol, and its number where nobody states one."""

    port_name: str
    protocol: str
    number: int


FAMILIES: Mapping[str, Family] = {
    "dubbo": Family("dubbo-tcp", "TCP", 20880),
    "bolt": Family("bolt-tcp", "TCP", 12200),
    "grpc": Family("grpc", "GRPC", 50051),
    "http": Family("http", "HTTP", 80),
    "https": Family("https", "HTTPS", 443),
    "tcp": Family("tcp", "TCP", 9000),
}
SCHEMES: Mapping[str, str] = {
    "dubbo": "dubbo", "bolt": "bolt", "tri": "grpc", "grpc": "grpc", "rest": "http", "http": "http", "https": "https",
    "tcp": "tcp",
}  # fmt: skip
"""Which family a scheme belongs to."""


def service_port(family: str, stated: Mapping[str, int]) -> ServicePort:
    """The service port of a family; ``stated`` are numbers by family that somebody has chosen."""
    default = FAMILIES[family]
    return ServicePort(default.port_name, stated.get(family, default.number), default.protocol, family in stated)
