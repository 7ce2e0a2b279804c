"""What connections to endpoints speak below their protocol: compiled transport sockets and how an endpoint's is chosen. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.metadata import Criteria

if TYPE_CHECKING:
    from isthmus_proxy.tls.model import ClientTlsConfig


@dataclass(frozen=True, slots=True)
class TransportSocket:
    """config.core.v3.TransportSocket: TLS or not, behind a PROXY header of that version or of none (0)."""

    tls: ClientTlsConfig | None = None
    proxy_protocol: int = 0

    def __bool__(self) -> bool:
        return self.tls is not None or self.proxy_protocol > 0


RAW = TransportSocket()


@dataclass(frozen=True, slots=True)
class TransportSocketMatch:
    """One of transport_socket_matches: for endpoints whose metadata has all of ``criteria``."""

    name: str
    criteria: Criteria
    socket: TransportSocket


def choose(
    matches: tuple[TransportSocketMatch, ...], default: TransportSocket, metadata: Criteria
) -> tuple[str, TransportSocket]:
    """Name of the first match for an endpoint's metadata, empty for none, and its transport socket."""
    present = dict(metadata)
    for match in matches:
        if all(name in present and present[name] == value for name, value in match.criteria):
            return match.name, match.socket
    return "", default


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What one client's connection or request asks of connections to endpoints; only alike ones share connections.

    ``server_name`` is for TLS (auto_sni), ``source`` and ``destination`` for a PROXY header, as ``(host, port)``.
    ``application_protocols`` are offered by TLS instead of those that are configured.
    """

    server_name: str = ""
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    application_protocols: tuple[str, ...] = ()
