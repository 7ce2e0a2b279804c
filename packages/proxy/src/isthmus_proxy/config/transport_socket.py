"""Transport sockets: bytes as they are. Anything else, TLS above all, is refused, as plain text would go out instead."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join

_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


def refuse_other_than_raw_buffer(owner: Any, path: str) -> None:
    """Raise ConfigError when ``owner`` (a cluster or filter chain) has a ``transport_socket`` that is not a raw buffer."""
    if owner.HasField("transport_socket"):
        place = join(path, "transport_socket.typed_config")
        unpack_as(owner.transport_socket.typed_config, place, _RAW_BUFFER)
