"""Settings of one run, as values; the command line is their only source."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.loss_guard import DEFAULT_HOLD_S
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.techniques import ALL, Techniques
from isthmus_controlplane.telemetry.services import DEFAULT_INTERVAL_S

DEFAULT_GRPC = "127.0.0.1:15010"
DEFAULT_ADMIN = "127.0.0.1:15014"
DEFAULT_SYNC_DEADLINE_S = 60.0
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 300.0
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
class ServerTls:
    """Files, in PEM form, by which xDS is served over TLS.

    Attributes:
        certificate: chain of the server.
        key: its key.
        client_authorities: who signs the certificates that clients have to show; empty to ask for none.
    """

    certificate: str
    key: str
    client_authorities: str = ""


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
        load_report_interval: seconds between the load reports that clients are asked for.
        techniques: what makes pushes cheap; all on but for measurements.
        address_path: file that gets the bound addresses; empty for none.
        rest: where xDS is served to clients that poll by REST-JSON, in plain text; None for nowhere.
        resources: directory of Envoy resources written by hand; empty for none.
        secrets: directory of certificates and keys for clients; empty for none.
        tls: how xDS is served over TLS; None for plain text.
    """

    store: str
    mcp: tuple[str, ...] = ()
    grpc: HostPort = HostPort("127.0.0.1", 15010)
    admin: HostPort = HostPort("127.0.0.1", 15014)
    mesh: MeshSettings = dataclasses.field(default_factory=MeshSettings)
    sync_deadline: float = DEFAULT_SYNC_DEADLINE_S
    loss_hold: float = DEFAULT_HOLD_S
    load_report_interval: float = DEFAULT_INTERVAL_S
    techniques: Techniques = ALL
    address_path: str = ""
    rest: HostPort | None = None
    resources: str = ""
    secrets: str = ""
    tls: ServerTls | None = None


def server_tls(certificate: str, key: str, client_authorities: str) -> ServerTls | None:
    """Read the three options; None where none is given.

    Raises:
        ConfigError: some are given and others missing.
    """
    if not certificate and not key and not client_authorities:
        return None
    if not certificate or not key:
        raise ConfigError("--grpc-certificate, --grpc-key: give both, or neither of the --grpc options for TLS")
    return ServerTls(certificate, key, client_authorities)


def check_secrets_are_safe(settings: Settings) -> None:
    """Refuse to give keys to whoever asks over a network.

    Raises:
        ConfigError: there are secrets, and xDS can be reached from other machines by clients that show no certificate.
    """
    if settings.secrets and settings.rest is not None and not settings.rest.is_loopback:
        raise ConfigError(f"--rest {settings.rest}: whoever reaches it could read the keys of --secrets: use loopback")
    asks = settings.tls is not None and settings.tls.client_authorities
    if settings.secrets and not settings.grpc.is_loopback and not asks:
        raise ConfigError(
            f"--secrets {settings.secrets}: everybody who reaches {settings.grpc} could read the keys: serve xDS on "
            "loopback, or ask clients for certificates by --grpc-certificate, --grpc-key and --grpc-client-ca"
        )


def check_interval(seconds: float, option: str) -> float:
    """Return an interval of 0.1 to 300 seconds.

    Raises:
        ConfigError: it is something else.
    """
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:  # a NaN is not either
        raise ConfigError(f"{option} {seconds:g}: must be {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g} seconds")
    return seconds


def parse_host_port(text: str, option: str) -> HostPort:
    """Read ``HOST:PORT``; IPv6 literals stand in brackets.

    Raises:
        ConfigError: it is something else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(f"{option} {text}: is not of the form HOST:PORT, such as {DEFAULT_GRPC}")
    return HostPort(match["host"].strip("[]"), int(match["port"]))
