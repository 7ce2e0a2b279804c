"""Compiled configuration of the registry API, and what applications say over it. Immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ApplicationCheck:
    """How the sidecar finds out whether its application lives: a connection to ``port``, and a heartbeat where the codec has one.

    Times in seconds. ``failures`` in a row withdraw what the application published.
    """

    port: int
    codec: str
    interval: float = 5.0
    timeout: float = 1.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class RegistryApiConfig:
    """isthmus.bootstrap.registry_api.v1.RegistryApi. Ports are on loopback; 0 means that this API is not served.

    ``outbound_port`` is where applications send their calls; ``host`` and ``inbound_port`` are where others reach the application.
    ``clusters`` are those of the registration service, one for each replica; none: publications go nowhere. ``native_host`` and
    ``native_port`` are where others may reach the application itself (port 0: nowhere), ``instance`` is what its instances are told
    apart by. Times in seconds: an answer is asked for every ``keep_alive``, and a stream without one for ``stall_timeout`` is given up;
    before it drains, the sidecar serves for ``leave_time`` after it has said that it leaves.
    """

    sofa_port: int = 0
    dubbo_port: int = 0
    outbound_port: int = 12220
    host: str = "127.0.0.1"
    inbound_port: int = 12200
    clusters: tuple[str, ...] = ()
    check: ApplicationCheck | None = None
    native_host: str = ""
    native_port: int = 0
    instance: str = ""
    keep_alive: float = 0.5
    stall_timeout: float = 1.0
    leave_time: float = 1.0


@dataclass(frozen=True, slots=True)
class Publication:
    """One service that the application offers. ``key`` tells it from its others."""

    service: str
    protocol: str
    group: str = ""
    version: str = ""
    application: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a later publication of the same service replaces, and what a withdrawal names."""
        return (self.service, self.protocol, self.group, self.version)
