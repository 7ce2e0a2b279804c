"""Settings of one run, as values; the command line is their only source."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.loss_guard import DEFAULT_HOLD_S
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.techniques import ALL, Techniques

DEFAULT_GRPC = "127.0.0.1:15010"
DEFAULT_ADMIN = "127.0.0.1:15014"
DEFAULT_SYNC_DEADLINE_S = 60.0
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True, slots=True)
class HostPort:
    """An address to listen on; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One run of the control plane.

    Attributes:
        store: URL of the store that `isthmusctl` writes to.
        mcp: MCP sources, ``xds://HOST:PORT``.
        grpc: where xDS is served.
        admin: where the admin endpoints are served.
        mesh: settings of the whole mesh.
        sync_deadline: seconds to wait for every store to be read once, before clients are served with what there is.
        loss_hold: seconds for which instances are kept when most of a service's vanish at once; 0 for not at all.
        techniques: what makes pushes cheap; all on but for measurements.
        address_path: file that gets the bound addresses; empty for none.
    """

    store: str
    mcp: tuple[str, ...] = ()
    grpc: HostPort = HostPort("127.0.0.1", 15010)
    admin: HostPort = HostPort("127.0.0.1", 15014)
    mesh: MeshSettings = dataclasses.field(default_factory=MeshSettings)
    sync_deadline: float = DEFAULT_SYNC_DEADLINE_S
    loss_hold: float = DEFAULT_HOLD_S
    techniques: Techniques = ALL
    address_path: str = ""


def parse_host_port(text: str, option: str) -> HostPort:
    """Read ``HOST:PORT``; IPv6 literals stand in brackets.

    Raises:
        ConfigError: it is something else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(f"{option} {text}: is not of the form HOST:PORT, such as {DEFAULT_GRPC}")
    return HostPort(match["host"].strip("[]"), int(match["port"]))
