"""The one message of Nacos's gRPC interface: a type name, headers, and JSON; pure.

``Payload { Metadata metadata = 2; google.protobuf.Any body = 3; }``,
``Metadata { string type = 3; string clientIp = 8; map<string, string> headers = 7; }``; the body's value is JSON
(nacos ``api/src/main/proto/nacos_grpc_service.proto``).
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from isthmus_mcp_bridge.registries import protobuf_wire as wire


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """A request or response: the simple name of its Java class, and its fields."""

    type: str
    body: dict[str, Any]

    def encode(self) -> bytes:
        """As gRPC carries it."""
        metadata = wire.field(3, self.type)
        value = wire.field(2, json.dumps(self.body, separators=(",", ":"), ensure_ascii=False))
        return wire.field(2, metadata) + wire.field(3, value)

    @staticmethod
    def decode(data: bytes) -> Payload:
        """Raises ValueError when it is none."""
        message = wire.read(data)
        kind = wire.text(wire.read(wire.data_of(message, 2)), 3)
        body = json.loads(wire.data_of(wire.read(wire.data_of(message, 3)), 2) or b"{}")
        if not kind or not isinstance(body, dict):
            raise ValueError("is no payload of Nacos")
        return Payload(kind, body)
