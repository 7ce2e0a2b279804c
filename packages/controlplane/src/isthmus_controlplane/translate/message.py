"""Small protobuf values that several resources hold."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message


def packed(message: Message) -> AnyMessage:
    """Pack a message; maps in it are written in sorted order, so that equal content gives equal bytes."""
    result = AnyMessage()
    result.Pack(message, deterministic=True)
    return result


def ads() -> Any:
    """The config source "the stream this came from"."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def socket_address(address: str, port: int) -> Any:
    """A TCP address, IP literal or name."""
    return Address(socket_address=SocketAddress(address=address, port_value=port))
