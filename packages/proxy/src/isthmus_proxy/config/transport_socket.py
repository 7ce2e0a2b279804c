"""Transport sockets: bytes as they are, TLS, or a PROXY header before either. Anything else is refused.

The modules of TLS are imported by the first configuration that has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus_proxy.cluster.transport import RAW, TransportSocket, TransportSocketMatch
from isthmus_proxy.config.extensions import name_of, unpack_as
from isthmus_proxy.config.metadata import compile_struct
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError

if TYPE_CHECKING:
    from isthmus_proxy.tls.model import ServerTlsConfig

_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PROXY = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"


def compile_downstream_transport(chain: Any, path: str) -> ServerTlsConfig | None:
    """TLS of a checked filter chain; None without. Raises ConfigError."""
    if not chain.HasField("transport_socket"):
        return None
    place = join(path, "transport_socket.typed_config")
    config = unpack_as(chain.transport_socket.typed_config, place, _RAW_BUFFER, _DOWNSTREAM_TLS)
    if config.DESCRIPTOR.full_name == _RAW_BUFFER:
        return None
    from isthmus_proxy.config.tls import compile_server_tls  # noqa: PLC0415 - few configurations have TLS

    return compile_server_tls(config, place)


def compile_upstream_transport(cluster: Any, path: str) -> tuple[TransportSocket, tuple[TransportSocketMatch, ...]]:
    """The transport socket of a checked cluster, and those of endpoints with certain metadata. Raises ConfigError."""
    default = RAW
    if cluster.HasField("transport_socket"):
        default = _transport_socket(cluster.transport_socket, join(path, "transport_socket"))
    matches: list[TransportSocketMatch] = []
    for index, match in enumerate(cluster.transport_socket_matches):
        place = f"{join(path, 'transport_socket_matches')}[{index}]"
        name = required(match, "name", place)
        if name in [each.name for each in matches]:
            raise ConfigError(join(place, "name"), shown(name), "this name is used twice")
        socket = _transport_socket(match.transport_socket, join(place, "transport_socket"))
        matches.append(TransportSocketMatch(name, compile_struct(match.match), socket))
    return default, tuple(matches)


def _transport_socket(proto: Any, path: str) -> TransportSocket:
    place = join(path, "typed_config")
    config: Any = unpack_as(proto.typed_config, place, _RAW_BUFFER, _UPSTREAM_TLS, _PROXY)
    if name_of(proto.typed_config.type_url) == _PROXY:
        return _proxy_protocol(config, place)
    return TransportSocket(_tls(config, place))


def _tls(config: Any, path: str) -> Any:
    if config.DESCRIPTOR.full_name == _RAW_BUFFER:
        return None
    from isthmus_proxy.config.tls import compile_client_tls  # noqa: PLC0415 - few configurations have TLS

    return compile_client_tls(config, path)


def _proxy_protocol(proto: Any, path: str) -> TransportSocket:
    if not proto.HasField("transport_socket"):
        raise ConfigError(join(path, "transport_socket"), "", "is required")
    place = join(path, "transport_socket.typed_config")
    inner = unpack_as(proto.transport_socket.typed_config, place, _RAW_BUFFER, _UPSTREAM_TLS)
    return TransportSocket(_tls(inner, place), int(proto.config.version) + 1)
